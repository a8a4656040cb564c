#include "cuda.h"

#include "../cuda/vector.h"

namespace pdarts::windows {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 65535; // in the grid's second dimension

// No contraction and no faster division, whatever the compiler's options.
__device__ __forceinline__ float normalised(uint8_t byte, float mean, float std) {
  return __fdiv_rn(__fsub_rn(__fdiv_rn(float(byte), 255.0f), mean), std);
}

__device__ __forceinline__ float of_channel(const float (&values)[kChannels], int channel) {
  return channel == 0 ? values[0] : channel == 1 ? values[1] : values[2];
}

// Where an image's row or column is; the sum wraps, for windows that are far outside.
__device__ __forceinline__ unsigned of_image(int start, int place) { return unsigned(start) + unsigned(place); }

// A block has some values of a window, a thread V of these that follow each other.
template <typename S, int V>
__global__ void __launch_bounds__(kThreads)
    normalise(const uint8_t *images, const Window *windows, S *y, Size size, Colours colours) {
  const int row_values = size.width * kChannels, values = size.height * row_values;
  const int first = (blockIdx.x * kThreads + threadIdx.x) * V;
  if (first >= values) {
    return;
  }
  const int first_row = first / row_values, in_row = first % row_values;
  for (int index = blockIdx.y; index < size.windows; index += gridDim.y) {
    const Window window = windows[index];
    const uint8_t *image = images + int64_t(window.image) * values;
    int row = first_row, column = in_row / kChannels, channel = in_row % kChannels;
    Compute<S> result[V];
    for (int place = 0; place < V; ++place) {
      const unsigned image_row = of_image(window.top, row);
      const unsigned image_column = of_image(window.left, window.mirrored ? size.width - 1 - column : column);
      const bool inside = image_row < unsigned(size.height) && image_column < unsigned(size.width);
      const bool erased = row >= window.erased_top && row < window.erased_bottom && column >= window.erased_left &&
                          column < window.erased_right;
      const uint8_t byte = inside && !erased ? image[image_row * row_values + image_column * kChannels + channel] : 0;
      const float value = normalised(byte, of_channel(colours.mean, channel), of_channel(colours.std, channel));
      result[place] = erased ? 0 : value;
      if (++channel == kChannels) {
        channel = 0;
        if (++column == size.width) {
          column = 0;
          ++row;
        }
      }
    }
    cuda::store<S, V>(result, y + int64_t(index) * values + first);
  }
}

template <typename S, int V>
void launch(const uint8_t *images, const Window *windows, S *y, const Size &size, const Colours &colours,
            cuda::Stream stream) {
  const int blocks = cuda::divide_up(size.height * size.width * kChannels, kThreads * V);
  const dim3 grid(unsigned(blocks), unsigned(size.windows < kMostBlocks ? size.windows : kMostBlocks));
  PDARTS_LAUNCH((normalise<S, V>), grid, dim3(kThreads), 0, stream, images, windows, y, size, colours);
}

template <typename S>
int forward(const uint8_t *images, const Window *windows, S *y, const Size &size, const Colours &colours,
            cuda::Stream stream) {
  constexpr int kVector = cuda::kVector<S>;
  const int values = size.height * size.width * kChannels;
  if (size.windows == 0 || values == 0) {
    return 0;
  }
  const auto launched = cuda::fits_vectors<kVector>(y, values) ? launch<S, kVector> : launch<S, 1>;
  launched(images, windows, y, size, colours, stream);
  return cuda::launch_result();
}

} // namespace

extern const CudaKernels<float> cuda_float_kernels = {forward<float>};
extern const CudaKernels<double> cuda_double_kernels = {forward<double>};
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels = {forward<BFloat16>};

} // namespace pdarts::windows
