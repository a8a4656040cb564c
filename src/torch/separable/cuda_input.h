// The input's gradient, gathered from the gradients between the convolutions of all calls that read it.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "../cuda/batch.h"
#include "cuda_chunks.h"

namespace pdarts::separable {

using channelwise::CudaPlace;
using channelwise::CudaTiling;

// What a call adds to the gradient of its input.
template <typename S> struct InputTerm {
  CudaShape shape;
  const Compute<S> *depthwise, *middle_gradient;
};

// An input and the calls that read it. Blocks: [tiles of channels][chunks]; shares of norm_sums: [chunk][2][channels].
template <typename S> struct InputPart {
  CudaBackward<S> call; // the first of them
  int num_terms;
  InputTerm<S> terms[kMostCalls];
  CudaTiling tiling; // of vectors of channels
  Chunks chunks;
  Compute<S> *norm_shares; // null where they are not wanted

  // Depthwise weights of a channel, of all terms and edges.
  int taps() const {
    int count = 0;
    for (int term = 0; term < num_terms; ++term) {
      const CudaShape &s = terms[term].shape;
      count += s.middle / s.channels * s.kernel * s.kernel;
    }
    return count;
  }
};
template <typename S> using InputBatch = cuda::Batch<InputPart<S>, kMostCalls>;

// Adds what the V channels from `channel` on of adjacent pixels from `pixel` on get from a term. `taps`: [edges][taps][step], of
// those channels.
template <typename S, typename W, int V>
__device__ __forceinline__ void add_to_adjacent(const InputTerm<S> &term, const Pixel &pixel, int channel,
                                                const Compute<S> *taps, int step, Compute<S> (&gradients)[kAdjacent][V]) {
  using T = Compute<S>;
  const CudaShape &s = term.shape;
  const int edges = s.middle / s.channels;
  const T *image = term.middle_gradient + pixel.image * s.out_height * s.out_width * s.middle + channel;
  const auto as_it_is = [](T value, int) { return value; };
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
        read_row<W, V>(from, s.middle, pixel.column, s.out_width, as_it_is, values);
        // The last tap reads to the left.
        add_row<W, V>(values, of_row + (W::K - 1) * step, -step, gradients);
      } else {
        // Adjacent pixels take turns in the taps that reach them.
        constexpr int kBefore = W::kPadding / 2, kAfter = (kAdjacent - 1 + W::kPadding) / 2;
        T values[kBefore + 1 + kAfter][V];
        read_row<kBefore + 1 + kAfter, 1, kBefore, true, V>(from, s.middle, pixel.column / 2, s.out_width, as_it_is, values);
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
template <typename S, int K, int V>
__device__ __forceinline__ void add_to_pixel(const InputTerm<S> &term, const Pixel &pixel, int channel,
                                             const Compute<S> *taps, int step, Compute<S> (&gradient)[V]) {
  using T = Compute<S>;
  const CudaShape &s = term.shape;
  const int edges = s.middle / s.channels, padding = s.dilation * (K - 1) / 2;
  const T *image = term.middle_gradient + pixel.image * s.out_height * s.out_width * s.middle + channel;
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

// A thread's vector of input channels over the pixels of its chunk.
template <typename S, Reading R>
__global__ void __launch_bounds__(kCudaThreads, kResidentBlocks<S>)
    gather_input(const __grid_constant__ InputBatch<S> batch) {
  using T = Compute<S>;
  constexpr int V = kChannelsOf<R>;
  PDARTS_DYNAMIC_SHARED(T, shared);
  int block;
  const InputPart<S> &part = batch.own(block);
  const CudaBackward<S> &call = part.call;
  const CudaTiling &tiling = part.tiling;
  const CudaShape &s = call.shape;
  const int tile = block / part.chunks.count, chunk = block - tile * part.chunks.count;
  const CudaPlace place(tiling, tile);
  const int tile_channels = tiling.width * V, first_channel = tile * tile_channels;
  const int left = s.channels - first_channel, num_channels = left < tile_channels ? left : tile_channels;
  // [terms][edges][taps][channels of the tile]
  T *weights = shared;
  for (int index = 0; index < part.num_terms; ++index) {
    const InputTerm<S> &term = part.terms[index];
    const int taps = term.shape.kernel * term.shape.kernel;
    for (int first = 0; first < term.shape.middle; first += s.channels) {
      share_taps(term.depthwise + (first + first_channel) * taps, num_channels, taps, tile_channels,
                 weights);
      weights += taps * tile_channels;
    }
  }
  __syncthreads();
  // Calls `add(window, term, taps)` for all terms.
  const int channel = place.vector * V;
  const auto for_each_term = [&](const auto &add) {
    const T *taps = shared + channel - first_channel;
    for (int index = 0; index < part.num_terms; ++index) {
      const InputTerm<S> &term = part.terms[index];
      with_kernel<R>(term.shape, [&](auto window) { add(window, term, taps); });
      taps += term.shape.middle / s.channels * term.shape.kernel * term.shape.kernel * tile_channels;
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
    if constexpr (R == Reading::kUneven || R == Reading::kAdjacent) {
      constexpr bool kIsUneven = R == Reading::kUneven;
      for (int index = place.row * kAdjacent; index < length; index += tiling.rows * kAdjacent) {
        const Pixel pixel = Pixel::of<kIsUneven>(part.chunks.begin(chunk) + index, s.height, s.width);
        T gradients[kAdjacent][V] = {};
        for_each_term([&]<typename W>(W, const InputTerm<S> &term, const T *taps) {
          add_to_adjacent<S, W, V>(term, pixel, channel, taps, tile_channels, gradients);
        });
#pragma unroll
        for (int of = 0; of < kAdjacent; ++of) {
          if (!kIsUneven || of == 0 || pixel.column + of < s.width) {
            finish(pixel.index + of, gradients[of]);
          }
        }
      }
    } else {
      for (int index = place.row; index < length; index += tiling.rows) {
        const int64_t position = part.chunks.begin(chunk) + index;
        const Pixel pixel = Pixel::of<false>(position, s.height, s.width);
        T gradient[V] = {};
        for_each_term([&]<typename W>(W, const InputTerm<S> &term, const T *taps) {
          add_to_pixel<S, W::K, V>(term, pixel, channel, taps, tile_channels, gradient);
        });
        finish(position, gradient);
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
