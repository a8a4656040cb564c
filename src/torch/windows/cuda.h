// The GPU kernel of normalised_windows. Pointers are to the device's memory; returns a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::windows {

constexpr int kChannels = 3;

// A window on one of several images, in the size of an image.
struct Window {
  int32_t image;     // which
  int32_t top, left; // what of the image is at its corner; around the image is black
  int32_t mirrored;  // left to right, unless 0
  int32_t erased_top, erased_bottom, erased_left, erased_right; // what of it is zero, past the last row and column
};

struct Colours {
  float mean[kChannels], std[kChannels];
};

struct Size {
  int windows, height, width;
};

template <typename S> struct CudaKernels {
  // y[n] = (windows[n] of the images / 255 - mean) / std, or 0 where it is erased; each operation rounded to float32. Images and
  // y are channels last.
  int (*forward)(const uint8_t *images, const Window *windows, S *y, const Size &size, const Colours &colours,
                 cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::windows
