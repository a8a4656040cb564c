// The GPU kernels of dropout. Pointers are to the device's memory; both return a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"
#include "../graph/draw.h"

namespace pdarts::dropout {

// As many copies of one tensor are dropped from in one launch.
constexpr int kMostCopies = 4;

template <typename S> struct Copies {
  S *at[kMostCopies];
  int number;
};

template <typename S> struct CudaKernels {
  // y.at[c][i] = x[i] / (1 - probability), or 0 with this probability; the same for the same draw.
  int (*forward)(const S *x, const Copies<S> &y, int64_t count, const graph::Draw &draw, cuda::Stream stream);
  // The gradient of x by those of the copies.
  int (*backward)(const Copies<const S> &gradients, S *x_gradient, int64_t count, const graph::Draw &draw,
                  cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::dropout
