// The pointwise weights' gradient: outer products of the output's gradient and the depthwise result, which is computed again.
#pragma once
#include "cuda_chunks.h"
#include "cuda_depthwise.h"
#include "cuda_product.h"

namespace pdarts::separable {

// A block takes a tile of outputs and one of inputs of a group and a chunk of pixels, so many of which it has in shared memory at
// a time; a thread takes 4 x 4 weights and every so manyth pixel.
struct OuterTiling {
  int output_tiles, output_quads, input_tiles, input_quads, lanes, pixels;

  static OuterTiling of(int outputs, int inputs) {
    constexpr int kMost = 64, kElements = 4096;
    const auto quads_of = [](int count) {
      return cuda::divide_up(cuda::divide_up(count, cuda::divide_up(count, kMost)), kQuad);
    };
    const int output_quads = quads_of(outputs), input_quads = quads_of(inputs);
    const int lanes = kCudaThreads / (output_quads * input_quads);
    const int fitting = kElements / ((output_quads + input_quads) * kQuad);
    return {cuda::divide_up(outputs, output_quads * kQuad),
            output_quads,
            cuda::divide_up(inputs, input_quads * kQuad),
            input_quads,
            lanes,
            (fitting < 128 ? fitting : 128) / kPatch * kPatch};
  }
  PDARTS_HOST_DEVICE int outputs() const { return output_quads * kQuad; }
  PDARTS_HOST_DEVICE int inputs() const { return input_quads * kQuad; }
  PDARTS_HOST_DEVICE int threads() const { return output_quads * input_quads * lanes; }
};

template <typename T> int64_t outer_shared_elements(const OuterTiling &tiling, int taps) {
  const int64_t pixels = int64_t(tiling.pixels) * (tiling.outputs() + tiling.inputs()) + int64_t(taps) * tiling.inputs();
  const int64_t sums = int64_t(tiling.threads()) * kQuad * kQuad;
  return pixels > sums ? pixels : sums;
}

// Blocks: [groups * output tiles * input tiles][chunks]; shares: [chunk][group][output][input].
template <typename T> struct OuterPart {
  int call;
  OuterTiling tiling;
  Chunks chunks;
  T *shares;
};
template <typename T> using OuterBatch = cuda::Batch<OuterPart<T>, kMostCalls>;

template <typename S, typename W, int V>
__device__ __forceinline__ void sum_outer_products(const CudaBackward<S> &call, const OuterPart<Compute<S>> &part,
                                                   int block, Compute<S> *shared) {
  using T = Compute<S>;
  constexpr Reading R = W::kReading;
  // Pixels and channels of which a thread computes what is between the convolutions, and pixels of a row of which it reads the gradient.
  constexpr int K = W::K, kRun = kTogether<R>, kInput = input_channels(R), kRow = kRun < kAdjacent ? 1 : kAdjacent;
  const OuterTiling &tiling = part.tiling;
  const CudaShape &s = call.shape;
  int tile = block / part.chunks.count;
  const int chunk = block - tile * part.chunks.count;
  const int inputs = s.inputs(), tile_inputs = tiling.inputs(), tile_outputs = tiling.outputs();
  const int first_input = tile % tiling.input_tiles * tile_inputs;
  tile /= tiling.input_tiles;
  const int first_output = tile % tiling.output_tiles * tile_outputs, group = tile / tiling.output_tiles;
  const int num_inputs = inputs - first_input < tile_inputs ? inputs - first_input : tile_inputs;
  const int num_outputs = s.outputs - first_output < tile_outputs ? s.outputs - first_output : tile_outputs;
  T *gradient = shared, *middle = gradient + tiling.pixels * tile_outputs, *taps = middle + tiling.pixels * tile_inputs;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  const int first_middle = group * inputs + first_input;
  share_taps(call.depthwise + first_middle * K * K, num_inputs, K * K, tile_inputs, taps);
  // What is never written stays out of the sums.
  for (int position = threadIdx.x; position < tiling.pixels * (tile_outputs + tile_inputs); position += kCudaThreads) {
    shared[position] = 0;
  }
  const int quads = tiling.output_quads * tiling.input_quads, lane = int(threadIdx.x) / quads;
  const int own = int(threadIdx.x) % quads;
  const int own_output = own / tiling.input_quads * kQuad, own_input = own % tiling.input_quads * kQuad;
  const bool is_active = lane < tiling.lanes;
  T sums[kQuad][kQuad] = {};
  const int length = part.chunks.length(chunk), step = s.groups * s.outputs;
  const int vectors = num_inputs / kInput, output_vectors = num_outputs / V;
  for (int begin = 0; begin < length; begin += tiling.pixels) {
    const int count = length - begin < tiling.pixels ? length - begin : tiling.pixels;
    const int64_t first_place = part.chunks.begin(chunk) + begin;
    __syncthreads();
    const S *from = call.y_gradient + group * s.outputs + first_output;
#pragma unroll 1
    for (int item = threadIdx.x; item < count / kRow * output_vectors; item += kCudaThreads) {
      const int row = item / output_vectors, output = (item - row * output_vectors) * V;
      int64_t of_images = first_place + row * kRow;
      int num_pixels = kRow;
      if constexpr (kRow > 1) {
        const Pixel first = Pixel::of<R>(of_images, s.out_height, s.out_width);
        of_images = first.index;
        num_pixels = s.out_width - first.column;
      }
#pragma unroll
      for (int of = 0; of < kRow; ++of) {
        T values[V] = {};
        if (of < num_pixels) {
          cuda::load<S, V>(from + (of_images + of) * step + output, values);
        }
        cuda::store<T, V>(values, gradient + (row * kRow + of) * tile_outputs + output);
      }
    }
    for (int item = threadIdx.x; item < count / kRun * vectors; item += kCudaThreads) {
      const int run = item / vectors, channel = (item - run * vectors) * kInput;
      T values[kRun][kInput] = {};
      depthwise<S, W, kInput>(s, input, Pixel::of<R>(first_place + run * kRun, s.out_height, s.out_width),
                              first_middle + channel, taps + channel, tile_inputs, values);
#pragma unroll
      for (int of = 0; of < kRun; ++of) {
        cuda::store<T, kInput>(values[of], middle + (run * kRun + of) * tile_inputs + channel);
      }
    }
    __syncthreads();
    if (is_active) {
      for (int pixel = lane; pixel < count; pixel += tiling.lanes) {
        T of_output[kQuad], of_input[kQuad];
        cuda::load<T, kQuad>(gradient + pixel * tile_outputs + own_output, of_output);
        cuda::load<T, kQuad>(middle + pixel * tile_inputs + own_input, of_input);
#pragma unroll
        for (int output = 0; output < kQuad; ++output) {
#pragma unroll
          for (int index = 0; index < kQuad; ++index) {
            sums[output][index] += of_output[output] * of_input[index];
          }
        }
      }
    }
  }
  // The lanes' sums, added up in their order.
  __syncthreads();
  if (is_active) {
#pragma unroll
    for (int position = 0; position < kQuad * kQuad; ++position) {
      shared[(lane * quads + own) * kQuad * kQuad + position] = sums[position / kQuad][position % kQuad];
    }
  }
  __syncthreads();
  T *to = part.shares + (int64_t(chunk) * s.groups * s.outputs + group * s.outputs + first_output) * inputs + first_input;
  for (int position = threadIdx.x; position < num_outputs * num_inputs; position += kCudaThreads) {
    const int output = position / num_inputs, index = position - output * num_inputs;
    const int quad = output / kQuad * tiling.input_quads + index / kQuad, place = output % kQuad * kQuad + index % kQuad;
    T total = 0;
    for (int other = 0; other < tiling.lanes; ++other) {
      total += shared[(other * quads + quad) * kQuad * kQuad + place];
    }
    to[int64_t(output) * inputs + index] = total;
  }
}

} // namespace pdarts::separable
