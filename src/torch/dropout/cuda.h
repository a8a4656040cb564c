// The GPU kernel of dropout. Pointers are to the device's memory; returns a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"
#include "../graph/draw.h"

namespace pdarts::dropout {

template <typename S> struct CudaKernels {
  // y[i] = x[i] / (1 - probability), or 0 with this probability; the same for the same draw.
  int (*forward)(const S *x, S *y, int64_t count, const graph::Draw &draw, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::dropout
