// The input's gradient, gathered from the gradients between the convolutions of all calls that read it.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "cuda_chunks.h"
#include "cuda_patch.h"

namespace pdarts::separable {

using channelwise::CudaPlace;
using channelwise::CudaTiling;

// An input and the calls that read it, each of which adds to its gradient. Blocks: [tiles of channels][chunks]; shares of
// norm_sums, which are the first call's: [chunk][2][channels].
template <typename T> struct InputPart {
  int num_calls, calls[kMostCalls];
  CudaTiling tiling; // of vectors of channels
  Chunks chunks;
  T *norm_shares; // null where they are not wanted
};
template <typename T> using InputBatch = cuda::Batch<InputPart<T>, kMostCalls>;

// Depthwise weights of a channel of the input, of all edges.
PDARTS_HOST_DEVICE inline int taps_of_channel(const CudaShape &s) { return s.middle / s.channels * s.kernel * s.kernel; }

// Gradients are read as they are.
struct AsItIs {
  template <typename T> __device__ __forceinline__ T operator()(T value, int) const { return value; }
};

// Adds to adjacent pixels from `pixel` on. `image`: of the gradient between the convolutions, the channels at its first pixel.
template <typename W, int V, typename T>
__device__ __forceinline__ void add_to_adjacent(const CudaShape &s, const T *image, const Pixel &pixel, const T *taps, int step,
                                                T (&gradients)[kAdjacent][V]) {
  const int edges = s.middle / s.channels;
#pragma unroll 1
  for (int kernel_row = 0; kernel_row < W::K; ++kernel_row) {
    const int row = pixel.row + W::kPadding - kernel_row * W::D;
    if (row < 0 || row % W::kStride != 0 || row / W::kStride >= s.out_height) {
      continue;
    }
    const T *from = image + int64_t(row / W::kStride * s.out_width) * s.middle;
    for (int edge = 0; edge < edges; ++edge, from += s.channels) {
      const T *of_row = taps + (edge * W::K + kernel_row) * W::K * step;
      if constexpr (W::kStride == 1) {
        T values[W::kColumns][V];
        read_row<W, V>(from, s.middle, pixel.column, s.out_width, AsItIs(), values);
        // The last tap reads to the left.
        add_row<W, V>(values, of_row + (W::K - 1) * step, -step, gradients);
      } else {
        // Adjacent pixels take turns in the taps that reach them.
        constexpr int kBefore = W::kPadding / 2, kAfter = (kAdjacent - 1 + W::kPadding) / 2;
        T values[kBefore + 1 + kAfter][V];
        read_row<kBefore + 1 + kAfter, 1, kBefore, true, V>(from, s.middle, pixel.column / 2, s.out_width, AsItIs(), values);
#pragma unroll
        for (int tap = 0; tap < W::K; ++tap) {
          T weight[V];
          cuda::load<T, V>(of_row + tap * step, weight);
#pragma unroll
          for (int of = 0; of < kAdjacent; ++of) {
            const int twice = of + W::kPadding - tap * W::D;
            if (twice % 2 == 0) {
#pragma unroll
              for (int part = 0; part < V; ++part) {
                gradients[of][part] += values[kBefore + twice / 2][part] * weight[part];
              }
            }
          }
        }
      }
    }
  }
}

// The same of one pixel, at any stride.
template <int K, int V, typename T>
__device__ __forceinline__ void add_to_pixel(const CudaShape &s, const T *image, const Pixel &pixel, const T *taps, int step,
                                             T (&gradient)[V]) {
  const int edges = s.middle / s.channels, padding = s.dilation * (K - 1) / 2;
#pragma unroll
  for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
    const int row = pixel.row + padding - kernel_row * s.dilation;
    if (row < 0 || (s.stride == 2 && row % 2 != 0) || row / s.stride >= s.out_height) {
      continue;
    }
    const T *from = image + int64_t(row / s.stride * s.out_width) * s.middle;
    for (int edge = 0; edge < edges; ++edge) {
      // All of a row are read before any is looked at.
      T values[K][V];
#pragma unroll
      for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
        const int column = pixel.column + padding - kernel_column * s.dilation;
        const bool is_inside = column >= 0 && (s.stride == 1 || column % 2 == 0) && column / s.stride < s.out_width;
        cuda::load<T, V>(from + (is_inside ? column / s.stride : 0) * s.middle + edge * s.channels, values[kernel_column]);
#pragma unroll
        for (int part = 0; part < V; ++part) {
          values[kernel_column][part] = is_inside ? values[kernel_column][part] : T(0);
        }
      }
      const T *of_row = taps + (edge * K + kernel_row) * K * step;
#pragma unroll
      for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
#pragma unroll
        for (int part = 0; part < V; ++part) {
          gradient[part] += values[kernel_column][part] * of_row[kernel_column * step + part];
        }
      }
    }
  }
}

// Adds what the V channels from `channel` on of the pixels that a thread computes together, from `pixel` on, get from a call. `taps`:
// [edges][taps][step], of those channels.
template <typename W, int V, typename T>
__device__ __forceinline__ void add_to_together(const CudaShape &s, const T *middle_gradient, const Pixel &pixel, int channel,
                                                const T *taps, int step, T (&gradients)[kTogether<W::kReading>][V]) {
  constexpr Reading R = W::kReading;
  const int edges = s.middle / s.channels;
  const T *image = middle_gradient + pixel.image * s.out_height * s.out_width * s.middle + channel;
  if constexpr (R == Reading::kPatches) {
    constexpr int kTaps = W::K * W::K;
#pragma unroll 1
    for (int edge = 0; edge < edges; ++edge) {
      // The last tap reads to the left and above.
      convolve_patch<W>(image + edge * s.channels, s.middle, s.height, s.width, pixel, AsItIs(),
                        taps + ((edge + 1) * kTaps - 1) * step, -step, gradients);
    }
  } else if constexpr (R == Reading::kUneven) {
    add_to_adjacent<W, V>(s, image, pixel, taps, step, gradients);
  } else {
    add_to_pixel<W::K, V>(s, image, pixel, taps, step, gradients[0]);
  }
}

// A thread's vector of input channels over the pixels of its chunk.
template <typename S, Reading R>
__device__ __forceinline__ void sum_input(const BackwardCalls<S> &calls, const InputPart<Compute<S>> &part, int block,
                                          Compute<S> *shared) {
  using T = Compute<S>;
  constexpr int V = input_channels(R), kRun = kTogether<R>;
  const CudaBackward<S> &call = calls.of[part.calls[0]];
  const CudaTiling &tiling = part.tiling;
  const CudaShape &s = call.shape;
  const int tile = block / part.chunks.count, chunk = block - tile * part.chunks.count;
  const CudaPlace place(tiling, tile);
  const int tile_channels = tiling.width * V, first_channel = tile * tile_channels;
  const int left = s.channels - first_channel, num_channels = left < tile_channels ? left : tile_channels;
  // [calls][edges][taps][channels of the tile]
  T *weights = shared;
  for (int index = 0; index < part.num_calls; ++index) {
    const CudaBackward<S> &of = calls.of[part.calls[index]];
    const int taps = of.shape.kernel * of.shape.kernel;
    for (int first = 0; first < of.shape.middle; first += s.channels) {
      share_taps(of.depthwise + (first + first_channel) * taps, num_channels, taps, tile_channels, weights);
      weights += taps * tile_channels;
    }
  }
  __syncthreads();
  // Calls `add(window, shape, middle_gradient, taps)` for all calls.
  const int channel = place.vector * V;
  const auto for_each_call = [&](const auto &add) {
    const T *taps = shared + channel - first_channel;
    for (int index = 0; index < part.num_calls; ++index) {
      const int number = part.calls[index];
      const CudaShape &shape = calls.of[number].shape;
      with_kernel<R>(shape, [&](auto window) { add(window, shape, calls.middle_gradients[number], taps); });
      taps += taps_of_channel(shape) * tile_channels;
    }
  };
  T sums[2 * V] = {};
  if (place.is_active) {
    const int length = part.chunks.length(chunk);
    // What a pixel at `position` passes on of its gradient, which is stored and, for BatchNorm, summed up.
    const auto finish = [&](int64_t position, T (&gradient)[V]) {
      T raw[V];
      cuda::load<S, V>(call.x + position * s.channels + channel, raw);
#pragma unroll
      for (int index = 0; index < V; ++index) {
        const T scaled = call.scale ? raw[index] * call.scale[channel + index] + call.shift[channel + index] : raw[index];
        gradient[index] = scaled <= 0 ? T(0) : gradient[index];
        if (part.norm_shares) {
          // As it is stored, which is what BatchNorm's gradient goes on with.
          const T stored = cuda::widened<S>(cuda::narrowed<S>(gradient[index]));
          sums[index] += stored;
          sums[V + index] += stored * (raw[index] - call.mean[channel + index]);
        }
      }
      cuda::store<S, V>(gradient, call.x_gradient + position * s.channels + channel);
    };
    const int step = tiling.rows * kRun;
    for (int index = place.row * kRun; index < length; index += step) {
      const Pixel pixel = Pixel::of<R>(part.chunks.begin(chunk) + index, s.height, s.width);
      T gradients[kRun][V] = {};
      for_each_call([&]<typename W>(W, const CudaShape &shape, const T *middle_gradient, const T *taps) {
        add_to_together<W, V>(shape, middle_gradient, pixel, channel, taps, tile_channels, gradients);
      });
#pragma unroll
      for (int of = 0; of < kRun; ++of) {
        if (R != Reading::kUneven || of == 0 || pixel.column + of < s.width) {
          finish(pixel.index + of / kAdjacent * s.width + of % kAdjacent, gradients[of]);
        }
      }
    }
  }
  if (part.norm_shares) {
    __syncthreads();
    channelwise::sum_over_rows(tiling, place, sums, shared);
    if (place.is_active && place.row == 0) {
      T *to = part.norm_shares + int64_t(chunk) * 2 * s.channels + channel;
#pragma unroll
      for (int index = 0; index < V; ++index) {
        to[index] = sums[index];
        to[s.channels + index] = sums[V + index];
      }
    }
  }
}

} // namespace pdarts::separable
