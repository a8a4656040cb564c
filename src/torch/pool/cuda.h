// The GPU kernels of 3x3 pooling with padding 1.
//
// Activations are dense: [images, height, width, channels]. All pointers are to the device's memory. Functions return a
// cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"
#include "kernels.h"

namespace pdarts::pool {

// `taps`: for each output, which of the window's nine values it is, in row-major order. Values stored as S are computed
// with as Compute<S>, and rounded once.
template <typename S> struct CudaKernels {
  // taps: null if not wanted.
  int (*max)(const Shape &shape, const S *x, S *y, uint8_t *taps, cuda::Stream stream);
  int (*max_gradient)(const Shape &shape, const uint8_t *taps, const S *y_gradient, S *x_gradient, cuda::Stream stream);
  int (*average)(const Shape &shape, const S *x, S *y, cuda::Stream stream);
  int (*average_gradient)(const Shape &shape, const S *y_gradient, S *x_gradient, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::pool
