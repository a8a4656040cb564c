// The forward pass: each block computes the depthwise convolution of a tile of pixels into shared memory, chunk after chunk of a
// group's channels, and multiplies it with the pointwise weights there.
#pragma once
#include "../cuda/batch.h"
#include "cuda_depthwise.h"
#include "cuda_product.h"

namespace pdarts::separable {

template <typename T> int64_t forward_shared_elements(const ProductTiling &tiling, int taps) {
  return int64_t(tiling.chunk) * (tiling.pixel_step() + tiling.columns() + taps);
}

template <typename S> struct ForwardPart {
  CudaForward<S> call;
  ProductBlocks blocks;
};
template <typename S> using ForwardBatch = cuda::Batch<ForwardPart<S>, kMostCalls>;

template <typename S, typename W, int V>
__device__ __forceinline__ void convolve_tile(const CudaForward<S> &call, const ProductTiling &tiling,
                                              const ProductPlace &place, Compute<S> *shared) {
  using T = Compute<S>;
  constexpr Reading R = W::kReading;
  // Pixels and channels of which a thread computes what is between the convolutions, and pixels that it stores at once.
  constexpr int K = W::K, kRun = kTogether<R>, kInput = input_channels(R), kStored = kRun < kAdjacent ? 1 : kAdjacent;
  const CudaShape &s = call.shape;
  const int inputs = s.inputs(), chunk = tiling.chunk, columns = tiling.columns();
  T *middle = shared, *pointwise = middle + chunk * tiling.pixel_step(), *taps = pointwise + chunk * columns;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  const int64_t num_places = int64_t(s.images) * s.out_height * places_of_row<R>(s.out_width);
  const int own_column = int(threadIdx.x) % tiling.column_quads * kQuad;
  const int own_pixel = int(threadIdx.x) / tiling.column_quads * kQuad;
  const bool is_active = own_pixel < tiling.pixels();
  Quad<T> quad;
  for (int first = 0; first < inputs; first += chunk) {
    const int count = inputs - first < chunk ? inputs - first : chunk;
    const int first_middle = place.group * inputs + first;
    __syncthreads();
    share_taps(call.depthwise + first_middle * K * K, count, K * K, chunk, taps);
    const T *weights = call.pointwise + int64_t(place.group * s.outputs + place.first_column) * inputs + first;
    for (int position = threadIdx.x; position < count * columns; position += kCudaThreads) {
      const int column = position / count, row = position - column * count;
      pointwise[row * columns + column] = column < place.num_columns ? weights[int64_t(column) * inputs + row] : T(0);
    }
    __syncthreads();
    const int vectors = count / kInput;
    for (int item = threadIdx.x; item < vectors * (tiling.pixels() / kRun); item += kCudaThreads) {
      const int run = item / vectors, channel = (item - run * vectors) * kInput;
      const int64_t of_run = place.first_pixel + run * kRun;
      T sums[kRun][kInput] = {};
      if (of_run < num_places) {
        depthwise<S, W, kInput>(s, input, Pixel::of<R>(of_run, s.out_height, s.out_width), first_middle + channel,
                                taps + channel, chunk, sums);
      }
#pragma unroll
      for (int part = 0; part < kInput; ++part) {
        T *to = middle + (channel + part) * tiling.pixel_step() + run * kRun;
#pragma unroll
        for (int first_of = 0; first_of < kRun; first_of += kStored) {
          T stored[kStored];
#pragma unroll
          for (int of = 0; of < kStored; ++of) {
            stored[of] = sums[first_of + of][part];
          }
          cuda::store<T, kStored>(stored, to + first_of);
        }
      }
    }
    __syncthreads();
    if (is_active) {
      quad.add(count, middle + own_pixel, tiling.pixel_step(), pointwise + own_column, columns);
    }
  }
  if (is_active && place.first_pixel + own_pixel < num_places) {
    int64_t pixel = place.first_pixel + own_pixel, num_pixels = num_places - pixel;
    if constexpr (kRun > 1) {
      const Pixel first = Pixel::of<R>(pixel, s.out_height, s.out_width);
      pixel = first.index;
      num_pixels = s.out_width - first.column;
    }
    const int step = s.groups * s.outputs;
    S *to = call.y + pixel * step + place.group * s.outputs + place.first_column;
    store_quad<S, V>(quad, place, num_pixels, own_column, step, to);
  }
}

template <typename S, Reading R>
__global__ void __launch_bounds__(kCudaThreads, kResidentBlocks<S>)
    convolve(const __grid_constant__ ForwardBatch<S> batch) {
  PDARTS_DYNAMIC_SHARED(Compute<S>, shared);
  int block = int(blockIdx.x);
  const ForwardPart<S> &part = batch.own(block);
  const ProductPlace place(part.blocks, block, part.call.shape.outputs);
  with_kernel<R>(part.call.shape, [&]<typename W>(W) {
    convolve_tile<S, W, kChannelsOf<R>>(part.call, part.blocks.tiling, place, shared);
  });
}

} // namespace pdarts::separable
