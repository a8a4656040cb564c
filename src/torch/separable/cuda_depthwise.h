// The depthwise half of the GPU kernels: what they read, and its result at one pixel.
#pragma once
#include "../cuda/vector.h"
#include "cuda.h"

namespace pdarts::separable {

constexpr int kCudaThreads = 256;
// Blocks that a multiprocessor has registers for: the kernels of one launch have those of the largest.
template <typename S> constexpr int kResidentBlocks = sizeof(S) < sizeof(double) ? 2 : 1;
// Channels of a vector where they are a multiple of it; else vectors of one.
constexpr int kChannels = 4;

// The convolution's input is the ReLU of scale * x + shift, of x itself where both are null.
template <typename S> struct CudaInput {
  using T = Compute<S>;
  const S *x;
  const T *scale, *shift;
};

// NaN stays NaN.
template <typename T> __device__ __forceinline__ T relu(T value) { return value < 0 ? T(0) : value; }
#ifdef __CUDACC__
// In one instruction.
template <> __device__ __forceinline__ float relu<float>(float value) {
  float result;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(value));
  return result;
}
#endif

// A place in a plane of pixels.
struct Pixel {
  int64_t image;
  int row, column;

  // Pixel number `index` of images with `width * height` pixels; there are less than 2^31, because a GPU divides 64 bits slowly.
  static __device__ __forceinline__ Pixel of(int64_t index, int height, int width) {
    const unsigned pixels = unsigned(height) * unsigned(width), image = unsigned(index) / pixels;
    const unsigned rest = unsigned(index) - image * pixels, row = rest / unsigned(width);
    return {image, int(row), int(rest - row * unsigned(width))};
  }
};

// How a thread reads its input: channel by channel, in vectors of channels, or in vectors for adjacent pixels of a row together.
enum class Reading { kSingle, kVectors, kAdjacent };
constexpr int kReadings = 3;

template <Reading R> constexpr int kChannelsOf = R == Reading::kSingle ? 1 : kChannels;

// Calls `body.operator()<K, D>()` for the shape's kernel; D is its dilation where adjacent pixels are computed together, else 0.
template <Reading R, int kMostKernel = 7, typename Body>
__device__ __forceinline__ void with_kernel(const CudaShape &s, const Body &body) {
  if constexpr (R == Reading::kAdjacent) {
    switch (10 * s.kernel + s.dilation) {
    case 31: body.template operator()<3, 1>(); break;
    case 32: body.template operator()<3, 2>(); break;
    case 51: body.template operator()<5, 1>(); break;
    case 52: body.template operator()<5, 2>(); break;
    }
  } else {
    switch (s.kernel) {
    case 3: body.template operator()<3, 0>(); break;
    case 5: body.template operator()<5, 0>(); break;
    case 7:
      if constexpr (kMostKernel >= 7) {
        body.template operator()<7, 0>();
      }
      break;
    }
  }
}

// The depthwise convolution at an output pixel, of the V middle channels from `middle` on. `weights`: those channels' of tap 0;
// those of the next are `step` elements on.
template <typename S, int K, int V>
__device__ __forceinline__ void depthwise_at(const CudaShape &s, const CudaInput<S> &input, const Pixel &pixel, int middle,
                                             const Compute<S> *weights, int step, Compute<S> (&sums)[V]) {
  using T = Compute<S>;
  const int padding = s.dilation * (K - 1) / 2, channel = middle % s.channels;
  const int first_row = pixel.row * s.stride - padding, first_column = pixel.column * s.stride - padding;
  const S *image = input.x + pixel.image * s.height * s.width * s.channels + channel;
  T scale[V], shift[V];
#pragma unroll
  for (int index = 0; index < V; ++index) {
    sums[index] = 0;
    scale[index] = input.scale ? input.scale[channel + index] : T(1);
    shift[index] = input.scale ? input.shift[channel + index] : T(0);
  }
#pragma unroll
  for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
    const int row = first_row + kernel_row * s.dilation;
    if (row < 0 || row >= s.height) {
      continue;
    }
    const S *from = image + row * s.width * s.channels;
    // All of a row are read before any is looked at.
    T values[K][V];
#pragma unroll
    for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
      const int column = first_column + kernel_column * s.dilation;
      const bool is_inside = column >= 0 && column < s.width;
      cuda::load<S, V>(from + (is_inside ? column : 0) * s.channels, values[kernel_column]);
#pragma unroll
      for (int index = 0; index < V; ++index) {
        const T value = relu(values[kernel_column][index] * scale[index] + shift[index]);
        values[kernel_column][index] = is_inside ? value : T(0);
      }
    }
#pragma unroll
    for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
      const T *of_tap = weights + (kernel_row * K + kernel_column) * step;
#pragma unroll
      for (int index = 0; index < V; ++index) {
        sums[index] += values[kernel_column][index] * of_tap[index];
      }
    }
  }
}

// ---- Several pixels at a time, at stride 1 ----

// Adjacent pixels of a row that a thread computes together, where rows are a multiple of them: they share most of what they read.
constexpr int kAdjacent = 4;

// The columns of a row that a kernel row of K taps at a distance D reads for adjacent pixels.
template <int K, int D, int V> constexpr int kReadColumns = kAdjacent + (K - 1) * D;

// The values there for adjacent pixels from `column` on, a multiple of their number, as `transform` gives them, and 0 outside of
// the row. `from`: the row's column 0; columns are `step` elements apart.
template <int K, int D, int V, typename S, typename Transform>
__device__ __forceinline__ void read_row(const S *from, int step, int column, int width, const Transform &transform,
                                         Compute<S> (&values)[kReadColumns<K, D, V>][V]) {
  constexpr int kPadding = D * (K - 1) / 2;
  static_assert(kPadding <= kAdjacent);
  // What is read on one side of the pixels is in the row altogether or not at all.
  const bool has_left = column > 0, has_right = column + kAdjacent < width;
  const S *at = from + (column - kPadding) * step;
#pragma unroll
  for (int index = 0; index < kReadColumns<K, D, V>; ++index) {
    const bool is_inside = index < kPadding ? has_left : index < kPadding + kAdjacent || has_right;
    if (is_inside) {
      cuda::load<S, V>(at + index * step, values[index]);
    }
#pragma unroll
    for (int part = 0; part < V; ++part) {
      values[index][part] = is_inside ? transform(values[index][part], part) : Compute<S>(0);
    }
  }
}

// Adds a kernel row to the sums of adjacent pixels. `weights`: of its first tap; of the next `step` elements on, which may be
// backwards.
template <int K, int D, int V, typename T>
__device__ __forceinline__ void add_row(const T (&values)[kReadColumns<K, D, V>][V], const T *weights, int step,
                                        T (&sums)[kAdjacent][V]) {
#pragma unroll
  for (int tap = 0; tap < K; ++tap) {
    T weight[V];
    cuda::load<T, V>(weights + tap * step, weight);
#pragma unroll
    for (int pixel = 0; pixel < kAdjacent; ++pixel) {
#pragma unroll
      for (int part = 0; part < V; ++part) {
        sums[pixel][part] += values[pixel + tap * D][part] * weight[part];
      }
    }
  }
}

// As depthwise_at, at adjacent output pixels from `pixel` on.
template <typename S, int K, int D, int V>
__device__ __forceinline__ void depthwise_at_adjacent(const CudaShape &s, const CudaInput<S> &input, const Pixel &pixel,
                                                      int middle, const Compute<S> *weights, int step,
                                                      Compute<S> (&sums)[kAdjacent][V]) {
  using T = Compute<S>;
  const int channel = middle % s.channels;
  const S *image = input.x + pixel.image * s.height * s.width * s.channels + channel;
  const auto add_rows = [&](const auto &transform) {
#pragma unroll 1
    for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
      const int row = pixel.row + (kernel_row - (K - 1) / 2) * D;
      if (row >= 0 && row < s.height) {
        T values[kReadColumns<K, D, V>][V];
        read_row<K, D, V>(image + row * s.width * s.channels, s.channels, pixel.column, s.width, transform, values);
        add_row<K, D, V>(values, weights + kernel_row * K * step, step, sums);
      }
    }
  };
  if (input.scale) {
    T scale[V], shift[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      scale[part] = input.scale[channel + part];
      shift[part] = input.shift[channel + part];
    }
    add_rows([&](T value, int part) { return relu(value * scale[part] + shift[part]); });
  } else {
    add_rows([](T value, int) { return relu(value); });
  }
}

// A tile's depthwise weights [channels, taps] from `from` on, as [taps, step] in shared memory.
template <typename T>
__device__ __forceinline__ void share_taps(const T *from, int channels, int taps, int step, T *to) {
  for (int position = threadIdx.x; position < channels * taps; position += kCudaThreads) {
    const int channel = position / taps;
    to[(position - channel * taps) * step + channel] = from[position];
  }
}

} // namespace pdarts::separable
