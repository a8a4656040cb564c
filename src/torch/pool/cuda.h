// The GPU kernels of 3x3 pooling with padding 1.
//
// Activations are dense: [images, height, width, channels]. All pointers are to the device's memory. Functions return a
// cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"
#include "kernels.h"

namespace pdarts::pool {

// `taps`: for each output, which of the window's nine values it is, in row-major order.
template <typename T> struct CudaKernels {
  // taps: null if not wanted.
  int (*max)(const Shape &shape, const T *x, T *y, uint8_t *taps, cuda::Stream stream);
  int (*max_gradient)(const Shape &shape, const uint8_t *taps, const T *y_gradient, T *x_gradient, cuda::Stream stream);
  int (*average)(const Shape &shape, const T *x, T *y, cuda::Stream stream);
  int (*average_gradient)(const Shape &shape, const T *y_gradient, T *x_gradient, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;

} // namespace pdarts::pool
