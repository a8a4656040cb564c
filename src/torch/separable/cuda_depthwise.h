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

// How a thread reads its input: channel by channel, in vectors of channels, or in vectors for adjacent pixels of a row together,
// which are fewer at the end of some rows, or at stride 1 always as many.
enum class Reading { kSingle, kVectors, kUneven, kAdjacent };
constexpr int kReadings = 4;

template <Reading R> constexpr int kChannelsOf = R == Reading::kSingle ? 1 : kChannels;

// Pixels of a row that a thread computes together: they share most of what they read.
constexpr int kAdjacent = 4;

// A kernel that is known to the compiler: its side, and dilation and stride where adjacent pixels are computed together, else 0.
template <int Side, int Dilation = 0, int Stride = 0, bool IsUneven = false> struct Window {
  static constexpr int K = Side, D = Dilation, kStride = Stride, kPadding = D * (K - 1) / 2;
  static constexpr bool kIsAdjacent = D > 0, kIsUneven = IsUneven;
  // What adjacent outputs read of a row: so many of its columns, each so manyth.
  static constexpr int kStep = D == 2 && kStride == 2 ? 2 : 1;
  static constexpr int kColumns = ((kAdjacent - 1) * kStride + (K - 1) * D) / kStep + 1;
  // Which of them output number `output` multiplies with a tap.
  static constexpr __host__ __device__ int column(int output, int tap) { return (output * kStride + tap * D) / kStep; }
};

// Calls `body(window)` with the shape's Window.
template <Reading R, int kMostKernel = 7, typename Body>
__device__ __forceinline__ void with_kernel(const CudaShape &s, const Body &body) {
  if constexpr (R == Reading::kAdjacent) {
    switch (10 * s.kernel + s.dilation) {
    case 31: body(Window<3, 1, 1>()); break;
    case 32: body(Window<3, 2, 1>()); break;
    case 51: body(Window<5, 1, 1>()); break;
    case 52: body(Window<5, 2, 1>()); break;
    }
  } else if constexpr (R == Reading::kUneven) {
    switch (100 * s.stride + 10 * s.kernel + s.dilation) {
    case 131: body(Window<3, 1, 1, true>()); break;
    case 132: body(Window<3, 2, 1, true>()); break;
    case 151: body(Window<5, 1, 1, true>()); break;
    case 152: body(Window<5, 2, 1, true>()); break;
    case 231: body(Window<3, 1, 2, true>()); break;
    case 232: body(Window<3, 2, 2, true>()); break;
    case 251: body(Window<5, 1, 2, true>()); break;
    case 252: body(Window<5, 2, 2, true>()); break;
    }
  } else {
    switch (s.kernel) {
    case 3: body(Window<3>()); break;
    case 5: body(Window<5>()); break;
    case 7:
      if constexpr (kMostKernel >= 7) {
        body(Window<7>());
      }
      break;
    }
  }
}

// Places in a row, as threads count them: where it is uneven, up to a multiple of adjacent pixels. Behind the row's width there
// are no pixels.
template <bool kIsUneven> PDARTS_HOST_DEVICE constexpr int places_of_row(int width) {
  return kIsUneven ? (width + kAdjacent - 1) / kAdjacent * kAdjacent : width;
}

// A place in a plane of pixels.
struct Pixel {
  int64_t image;
  int row, column;
  int64_t index; // among the pixels of all images, if it is one

  // Number `place` of images with `height` rows of so many places; there are less than 2^32, because a GPU divides 64 bits slowly.
  template <bool kIsUneven>
  static __device__ __forceinline__ Pixel of(int64_t place, int height, int width) {
    const unsigned places = unsigned(places_of_row<kIsUneven>(width)), line = unsigned(place) / places;
    const unsigned image = line / unsigned(height);
    const int column = int(unsigned(place) - line * places);
    return {image, int(line - image * unsigned(height)), column, int64_t(line) * width + column};
  }
};

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

// ---- Several pixels at a time ----

// N columns of a row, each kStep-th from kBefore columns before `column` on, as `transform` gives them, and 0 outside of the row.
// `from`: the row's column 0; columns are `step` elements apart. `column` is in the row, either its first or not less than kBefore;
// unless kIsUneven, so are kAdjacent from there on, and those behind them altogether or not at all.
template <int N, int kStep, int kBefore, bool kIsUneven, int V, typename S, typename Transform>
__device__ __forceinline__ void read_row(const S *from, int step, int column, int width, const Transform &transform,
                                         Compute<S> (&values)[N][V]) {
  const bool has_left = column > 0;
  const int right = width - column;
  const auto is_inside = [&](int index) {
    const int distance = index * kStep - kBefore, certain = kIsUneven ? 1 : kAdjacent;
    return distance < 0 ? has_left : distance < certain || right > (kIsUneven ? distance : kAdjacent);
  };
  const S *at = from + (column - kBefore) * step;
  // All are read before any is looked at.
#pragma unroll
  for (int index = 0; index < N; ++index) {
    cuda::load<S, V>(is_inside(index) ? at + index * kStep * step : from, values[index]);
  }
#pragma unroll
  for (int index = 0; index < N; ++index) {
#pragma unroll
    for (int part = 0; part < V; ++part) {
      values[index][part] = is_inside(index) ? transform(values[index][part], part) : Compute<S>(0);
    }
  }
}

// The columns that a kernel row reads for adjacent outputs from column `column` of theirs on.
template <typename W, int V, typename S, typename Transform>
__device__ __forceinline__ void read_row(const S *from, int step, int column, int width, const Transform &transform,
                                         Compute<S> (&values)[W::kColumns][V]) {
  static_assert(W::kPadding <= kAdjacent * W::kStride);
  read_row<W::kColumns, W::kStep, W::kPadding, W::kIsUneven, V>(from, step, column * W::kStride, width, transform, values);
}

// Adds a kernel row to the sums of adjacent outputs. `weights`: of its first tap; of the next `step` elements on, which may be
// backwards.
template <typename W, int V, typename T>
__device__ __forceinline__ void add_row(const T (&values)[W::kColumns][V], const T *weights, int step,
                                        T (&sums)[kAdjacent][V]) {
#pragma unroll
  for (int tap = 0; tap < W::K; ++tap) {
    T weight[V];
    cuda::load<T, V>(weights + tap * step, weight);
#pragma unroll
    for (int pixel = 0; pixel < kAdjacent; ++pixel) {
#pragma unroll
      for (int part = 0; part < V; ++part) {
        sums[pixel][part] += values[W::column(pixel, tap)][part] * weight[part];
      }
    }
  }
}

// As depthwise_at, at adjacent output pixels from `pixel` on; of those that are none, the sums mean nothing.
template <typename S, typename W, int V>
__device__ __forceinline__ void depthwise_at_adjacent(const CudaShape &s, const CudaInput<S> &input, const Pixel &pixel,
                                                      int middle, const Compute<S> *weights, int step,
                                                      Compute<S> (&sums)[kAdjacent][V]) {
  using T = Compute<S>;
  const int channel = middle % s.channels;
  const S *image = input.x + pixel.image * s.height * s.width * s.channels + channel;
  const auto add_rows = [&](const auto &transform) {
#pragma unroll 1
    for (int kernel_row = 0; kernel_row < W::K; ++kernel_row) {
      const int row = pixel.row * W::kStride - W::kPadding + kernel_row * W::D;
      if (row >= 0 && row < s.height) {
        T values[W::kColumns][V];
        read_row<W, V>(image + row * s.width * s.channels, s.channels, pixel.column, s.width, transform, values);
        add_row<W, V>(values, weights + kernel_row * W::K * step, step, sums);
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
