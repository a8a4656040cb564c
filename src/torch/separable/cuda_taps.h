// The depthwise weights' gradient, over chunks of pixels.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "cuda_chunks.h"

namespace pdarts::separable {

using channelwise::CudaPlace;
using channelwise::CudaTiling;

// Blocks: [tiles of middle channels][chunks]; shares: [chunk][middle][taps].
template <typename T> struct TapsPart {
  int call;
  CudaTiling tiling; // of vectors of middle channels
  Chunks chunks;
  T *shares;
};
template <typename T> using TapsBatch = cuda::Batch<TapsPart<T>, kMostCalls>;

// Middle channels that a thread sums all taps of: as many as its registers hold, which are too few for 7 x 7.
template <Reading R> constexpr int kTapChannels = R == Reading::kSingle ? 1 : 2;
constexpr int kMostPairedKernel = 5;

// `shared`: that of sum_over_rows.
template <typename S, typename W, int V>
__device__ __forceinline__ void sum_taps(const CudaBackward<S> &call, const Compute<S> *middle_gradient,
                                         const TapsPart<Compute<S>> &work, int block, Compute<S> *shared) {
  using T = Compute<S>;
  constexpr int K = W::K;
  const CudaTiling &tiling = work.tiling;
  const CudaShape &s = call.shape;
  const int tile = block / work.chunks.count, chunk = block - tile * work.chunks.count;
  const CudaPlace place(tiling, tile);
  const int middle = place.vector * V, channel = middle % s.channels, padding = s.dilation * (K - 1) / 2;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  T sums[K * K][V] = {};
  if (place.is_active) {
    const int length = work.chunks.length(chunk);
    T scale[V], shift[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      scale[part] = input.scale ? input.scale[channel + part] : T(1);
      shift[part] = input.scale ? input.shift[channel + part] : T(0);
    }
    if constexpr (W::kIsAdjacent) {
      for (int index = place.row * kAdjacent; index < length; index += tiling.rows * kAdjacent) {
        const Pixel pixel = Pixel::of<W::kIsUneven>(work.chunks.begin(chunk) + index, s.out_height, s.out_width);
        T gradient[kAdjacent][V] = {};
#pragma unroll
        for (int of = 0; of < kAdjacent; ++of) {
          if (!W::kIsUneven || of == 0 || pixel.column + of < s.out_width) {
            cuda::load<T, V>(middle_gradient + (pixel.index + of) * s.middle + middle, gradient[of]);
          }
        }
        const S *image = call.x + pixel.image * s.height * s.width * s.channels + channel;
#pragma unroll
        for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
          const int row = pixel.row * W::kStride - W::kPadding + kernel_row * W::D;
          if (row >= 0 && row < s.height) {
            T values[W::kColumns][V];
            read_row<W, V>(image + row * s.width * s.channels, s.channels, pixel.column, s.width,
                           [&](T value, int part) { return relu(value * scale[part] + shift[part]); }, values);
#pragma unroll
            for (int tap = 0; tap < K; ++tap) {
#pragma unroll
              for (int of = 0; of < kAdjacent; ++of) {
#pragma unroll
                for (int part = 0; part < V; ++part) {
                  sums[kernel_row * K + tap][part] += gradient[of][part] * values[W::column(of, tap)][part];
                }
              }
            }
          }
        }
      }
    }
    for (int index = place.row; !W::kIsAdjacent && index < length; index += tiling.rows) {
      const int64_t position = work.chunks.begin(chunk) + index;
      const Pixel pixel = Pixel::of<false>(position, s.out_height, s.out_width);
      T gradient[V];
      cuda::load<T, V>(middle_gradient + position * s.middle + middle, gradient);
      const S *image = call.x + pixel.image * s.height * s.width * s.channels + channel;
#pragma unroll
      for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
        const int row = pixel.row * s.stride - padding + kernel_row * s.dilation;
        if (row < 0 || row >= s.height) {
          continue;
        }
        T values[K][V];
#pragma unroll
        for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
          const int column = pixel.column * s.stride - padding + kernel_column * s.dilation;
          const bool is_inside = column >= 0 && column < s.width;
          cuda::load<S, V>(image + (row * s.width + (is_inside ? column : 0)) * s.channels, values[kernel_column]);
#pragma unroll
          for (int part = 0; part < V; ++part) {
            const T value = relu(values[kernel_column][part] * scale[part] + shift[part]);
            values[kernel_column][part] = is_inside ? value : T(0);
          }
        }
#pragma unroll
        for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
#pragma unroll
          for (int part = 0; part < V; ++part) {
            sums[kernel_row * K + kernel_column][part] += gradient[part] * values[kernel_column][part];
          }
        }
      }
    }
  }
  T *to = work.shares + (int64_t(chunk) * s.middle + middle) * K * K;
#pragma unroll
  for (int tap = 0; tap < K * K; ++tap) {
    T of_tap[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      of_tap[part] = sums[tap][part];
    }
    __syncthreads();
    channelwise::sum_over_rows(tiling, place, of_tap, shared);
    if (place.is_active && place.row == 0) {
#pragma unroll
      for (int part = 0; part < V; ++part) {
        to[part * K * K + tap] = of_tap[part];
      }
    }
  }
}

} // namespace pdarts::separable
