// Where the GPU kernels read: pixels that a thread computes together, the windows of the kernel around them, its weights.
#pragma once
#include "../cuda/vector.h"
#include "cuda.h"

namespace pdarts::separable {

constexpr int kCudaThreads = 256;
// Blocks that a multiprocessor has registers for: the kernels of one launch have those of the largest.
template <typename S> constexpr int kResidentBlocks = sizeof(S) < sizeof(double) ? 2 : 1;
// Channels of a vector where they are a multiple of it; else vectors of one.
constexpr int kChannels = 4;

// How a thread reads its input: channel by channel or in vectors of channels, pixel by pixel; in vectors for adjacent pixels of a row
// together, which are fewer at the end of some rows; or, at stride 1, channel by channel for patches of pixels.
enum class Reading { kSingle, kVectors, kUneven, kPatches };
constexpr int kReadings = 4;

// Whether it reads the depthwise convolution's input in vectors, and how many channels at a time.
PDARTS_HOST_DEVICE constexpr bool reads_vectors(Reading reading) { return reading == Reading::kVectors || reading == Reading::kUneven; }
PDARTS_HOST_DEVICE constexpr int input_channels(Reading reading) { return reads_vectors(reading) ? kChannels : 1; }
// Of what is read and written as it is.
template <Reading R> constexpr int kChannelsOf = R == Reading::kSingle ? 1 : kChannels;

// Pixels of a row that a thread computes together, and rows of a patch of them: they share most of what they read. Of a patch
// each value is read once for all that it is multiplied with.
constexpr int kAdjacent = 4, kPatchRows = 4, kPatch = kPatchRows * kAdjacent;

// Pixels that one thread computes together.
template <Reading R>
constexpr int kTogether = R == Reading::kPatches ? kPatch : R == Reading::kUneven ? kAdjacent : 1;

// A kernel that is known to the compiler: its side, and dilation and stride where pixels are computed together, else 0.
template <Reading R, int Side, int Dilation = 0, int Stride = 0> struct Window {
  static constexpr Reading kReading = R;
  static constexpr int K = Side, D = Dilation, kStride = Stride, kPadding = D * (K - 1) / 2;
  // What adjacent outputs read of a row: so many of its columns, each so manyth.
  static constexpr int kStep = D == 2 && kStride == 2 ? 2 : 1;
  static constexpr int kColumns = ((kAdjacent - 1) * kStride + (K - 1) * D) / kStep + 1;
  // Which of them output number `output` multiplies with a tap.
  static constexpr __host__ __device__ int column(int output, int tap) { return (output * kStride + tap * D) / kStep; }
};

// Calls `body(window)` with the shape's Window.
template <Reading R, int kMostKernel = 7, typename Body>
__device__ __forceinline__ void with_kernel(const CudaShape &s, const Body &body) {
  if constexpr (R == Reading::kPatches) {
    switch (10 * s.kernel + s.dilation) {
    case 31: body(Window<R, 3, 1, 1>()); break;
    case 32: body(Window<R, 3, 2, 1>()); break;
    case 51: body(Window<R, 5, 1, 1>()); break;
    case 52: body(Window<R, 5, 2, 1>()); break;
    }
  } else if constexpr (R == Reading::kUneven) {
    switch (100 * s.stride + 10 * s.kernel + s.dilation) {
    case 131: body(Window<R, 3, 1, 1>()); break;
    case 132: body(Window<R, 3, 2, 1>()); break;
    case 151: body(Window<R, 5, 1, 1>()); break;
    case 152: body(Window<R, 5, 2, 1>()); break;
    case 231: body(Window<R, 3, 1, 2>()); break;
    case 232: body(Window<R, 3, 2, 2>()); break;
    case 251: body(Window<R, 5, 1, 2>()); break;
    case 252: body(Window<R, 5, 2, 2>()); break;
    }
  } else {
    switch (s.kernel) {
    case 3: body(Window<R, 3>()); break;
    case 5: body(Window<R, 5>()); break;
    case 7:
      if constexpr (kMostKernel >= 7) {
        body(Window<R, 7>());
      }
      break;
    }
  }
}

// Places in a row, as threads count them: where it is uneven, up to a multiple of adjacent pixels. Behind the row's width there
// are no pixels.
template <Reading R> PDARTS_HOST_DEVICE constexpr int places_of_row(int width) {
  return R == Reading::kUneven ? (width + kAdjacent - 1) / kAdjacent * kAdjacent : width;
}

// A place in a plane of pixels.
struct Pixel {
  int64_t image;
  int row, column;
  int64_t index; // among the pixels of all images, if it is one

  // Number `place` of images with `height` rows of so many places, row after row, patch after patch where there are patches. There
  // are less than 2^32, because a GPU divides 64 bits slowly.
  template <Reading R> static __device__ __forceinline__ Pixel of(int64_t place, int height, int width) {
    if constexpr (R == Reading::kPatches) {
      const unsigned patch = unsigned(place) / kPatch, rest = unsigned(place) % kPatch;
      const unsigned of_strip = unsigned(width) / kAdjacent, strip = patch / of_strip;
      const unsigned line = strip * kPatchRows + rest / kAdjacent, image = line / unsigned(height);
      const int column = int((patch - strip * of_strip) * kAdjacent + rest % kAdjacent);
      return {image, int(line - image * unsigned(height)), column, int64_t(line) * width + column};
    }
    const unsigned places = unsigned(places_of_row<R>(width)), line = unsigned(place) / places;
    const unsigned image = line / unsigned(height);
    const int column = int(unsigned(place) - line * places);
    return {image, int(line - image * unsigned(height)), column, int64_t(line) * width + column};
  }
};

// A tile's depthwise weights [channels, taps] from `from` on, as [taps, step] in shared memory.
template <typename T>
__device__ __forceinline__ void share_taps(const T *from, int channels, int taps, int step, T *to) {
  for (int position = threadIdx.x; position < channels * taps; position += kCudaThreads) {
    const int channel = position / taps;
    to[(position - channel * taps) * step + channel] = from[position];
  }
}

} // namespace pdarts::separable
