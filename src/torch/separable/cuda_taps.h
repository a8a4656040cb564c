// The depthwise weights' gradient, over chunks of pixels.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "cuda_chunks.h"
#include "cuda_depthwise.h"

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
PDARTS_HOST_DEVICE constexpr int tap_channels(Reading reading) { return reads_vectors(reading) ? 2 : 1; }
constexpr int kMostPairedKernel = 5;

// Elements of shared memory: the sums of a row of taps.
inline int64_t taps_shared_elements(const CudaShape &s, int channels) {
  return int64_t(s.kernel) * channels * kCudaThreads;
}

template <typename S, typename W, int V>
__device__ __forceinline__ void sum_taps(const CudaBackward<S> &call, const Compute<S> *middle_gradient,
                                         const TapsPart<Compute<S>> &work, int block, Compute<S> *shared) {
  using T = Compute<S>;
  constexpr int K = W::K;
  constexpr Reading R = W::kReading;
  const CudaTiling &tiling = work.tiling;
  const CudaShape &s = call.shape;
  const int tile = block / work.chunks.count, chunk = block - tile * work.chunks.count;
  const CudaPlace place(tiling, tile);
  const int middle = place.vector * V, channel = middle % s.channels;
  T sums[K * K][V] = {};
  if (place.is_active) {
    const int length = work.chunks.length(chunk), step = tiling.rows * kTogether<R>;
    const S *x = call.x + channel;
    const auto image_of = [&](const Pixel &pixel) { return x + pixel.image * s.height * s.width * s.channels; };
    with_transform<S, V>({call.x, call.scale, call.shift}, channel, [&](const auto &transform) {
      for (int index = place.row * kTogether<R>; index < length; index += step) {
        const Pixel pixel = Pixel::of<R>(work.chunks.begin(chunk) + index, s.out_height, s.out_width);
        const T *of_pixel = middle_gradient + pixel.index * s.middle + middle;
        T gradients[kTogether<R>][V] = {};
        if constexpr (R == Reading::kPatches) {
#pragma unroll
          for (int of = 0; of < kPatch; ++of) {
            gradients[of][0] = of_pixel[int64_t(of / kAdjacent * s.width + of % kAdjacent) * s.middle];
          }
          for_each_row<W>(image_of(pixel), s.channels, s.height, s.width, pixel, transform,
                          [&](int row, const T (&values)[W::kColumns][1]) {
                            meet_taps<W>(row, values, [&](int of, int tap, T value) {
                              sums[tap][0] += gradients[of][0] * value;
                            });
                          });
        } else if constexpr (R == Reading::kUneven) {
#pragma unroll
          for (int of = 0; of < kAdjacent; ++of) {
            if (of == 0 || pixel.column + of < s.out_width) {
              cuda::load<T, V>(of_pixel + of * s.middle, gradients[of]);
            }
          }
#pragma unroll
          for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
            const int row = pixel.row * W::kStride - W::kPadding + kernel_row * W::D;
            if (row >= 0 && row < s.height) {
              T values[W::kColumns][V];
              read_row<W, V>(image_of(pixel) + row * s.width * s.channels, s.channels, pixel.column, s.width, transform,
                             values);
#pragma unroll
              for (int tap = 0; tap < K; ++tap) {
#pragma unroll
                for (int of = 0; of < kAdjacent; ++of) {
#pragma unroll
                  for (int part = 0; part < V; ++part) {
                    sums[kernel_row * K + tap][part] += gradients[of][part] * values[W::column(of, tap)][part];
                  }
                }
              }
            }
          }
        } else {
          cuda::load<T, V>(of_pixel, gradients[0]);
          for_each_tap<K, V>(s, image_of(pixel), pixel, transform, [&](int tap, const T (&values)[V]) {
#pragma unroll
            for (int part = 0; part < V; ++part) {
              sums[tap][part] += gradients[0][part] * values[part];
            }
          });
        }
      }
    });
  }
  T *to = work.shares + (int64_t(chunk) * s.middle + middle) * K * K;
#pragma unroll
  for (int first = 0; first < K * K; first += K) {
    T of_row[K * V];
#pragma unroll
    for (int index = 0; index < K * V; ++index) {
      of_row[index] = sums[first + index / V][index % V];
    }
    __syncthreads();
    channelwise::sum_over_rows(tiling, place, of_row, shared);
    if (place.is_active && place.row == 0) {
#pragma unroll
      for (int index = 0; index < K * V; ++index) {
        to[index % V * K * K + first + index / V] = of_row[index];
      }
    }
  }
}

} // namespace pdarts::separable
