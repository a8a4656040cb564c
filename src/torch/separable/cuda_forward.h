// The forward pass: each block computes the depthwise convolution of a tile of pixels into shared memory, chunk after chunk of a
// group's channels, and multiplies it with the pointwise weights there.
#pragma once
#include "../cuda/batch.h"
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
  constexpr int K = W::K;
  const CudaShape &s = call.shape;
  const int inputs = s.inputs(), chunk = tiling.chunk, columns = tiling.columns();
  T *middle = shared, *pointwise = middle + chunk * tiling.pixel_step(), *taps = pointwise + chunk * columns;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  const int64_t num_places = int64_t(s.images) * s.out_height * places_of_row<W::kIsUneven>(s.out_width);
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
    const int vectors = count / V;
    if constexpr (W::kIsAdjacent) {
      for (int item = threadIdx.x; item < vectors * tiling.pixel_quads; item += kCudaThreads) {
        const int quad_index = item / vectors, channel = (item - quad_index * vectors) * V;
        const int64_t pixel = place.first_pixel + quad_index * kAdjacent;
        T sums[kAdjacent][V] = {};
        if (pixel < num_places) {
          depthwise_at_adjacent<S, W, V>(s, input, Pixel::of<W::kIsUneven>(pixel, s.out_height, s.out_width),
                                         first_middle + channel, taps + channel, chunk, sums);
        }
#pragma unroll
        for (int part = 0; part < V; ++part) {
          const T of_channel[kAdjacent] = {sums[0][part], sums[1][part], sums[2][part], sums[3][part]};
          cuda::store<T, kAdjacent>(of_channel, middle + (channel + part) * tiling.pixel_step() + quad_index * kAdjacent);
        }
      }
    }
    for (int item = threadIdx.x; !W::kIsAdjacent && item < vectors * tiling.pixels(); item += kCudaThreads) {
      const int pixel = item / vectors, channel = (item - pixel * vectors) * V;
      T sums[V] = {};
      if (place.first_pixel + pixel < num_places) {
        depthwise_at<S, K, V>(s, input, Pixel::of<false>(place.first_pixel + pixel, s.out_height, s.out_width),
                              first_middle + channel, taps + channel, chunk, sums);
      }
#pragma unroll
      for (int index = 0; index < V; ++index) {
        middle[(channel + index) * tiling.pixel_step() + pixel] = sums[index];
      }
    }
    __syncthreads();
    if (is_active) {
      quad.add(count, middle + own_pixel, tiling.pixel_step(), pointwise + own_column, columns);
    }
  }
  if (is_active && place.first_pixel + own_pixel < num_places) {
    int64_t pixel = place.first_pixel + own_pixel, num_pixels = num_places - pixel;
    if constexpr (W::kIsUneven) {
      const Pixel first = Pixel::of<true>(pixel, s.out_height, s.out_width);
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
