// The GPU kernels of the sum of a node's branches: each branch's BatchNorm, its mask and the addition, forward and backward.
//
// Activations are dense: [pixels, channels]. All pointers are to the device's memory; sums over pixels are taken in an order
// that depends on the sizes alone. Functions return a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::branch_sum {

constexpr int kMaxCudaBranches = 2;

// A branch y, stored as S.
template <typename S> struct CudaBranch {
  using T = Compute<S>;
  const S *y;
  const S *mask;                       // [images], what each image's values are multiplied with; null: with 1
  const T *weight, *bias;              // [channels], null where there are none
  T *running_mean, *running_var;       // [channels], moved in training; null for a branch that is not normalised
  S *y_gradient;                       // backward: as y, null if not wanted
  T *weight_gradient, *bias_gradient;  // backward: [channels], both null if not wanted
};

// What a call works on. Statistics are [2, branches, channels]: mean and 1 / deviation (0 and 1 where a branch is not normalised);
// written forward, read backward.
template <typename S> struct CudaCall {
  using T = Compute<S>;
  int64_t pixels;
  int pixels_of_image, channels, num_branches;
  bool training;
  CudaBranch<S> branches[kMaxCudaBranches];
  S *sum;            // forward: [pixels, channels]
  const S *gradient; // backward: of the sum
  T *statistics;
  void *workspace;
};

template <typename S> struct CudaKernels {
  int64_t (*workspace_bytes)(const CudaCall<S> &call);
  // sum = the branches' mask * (weight * (y - mean) / deviation + bias), added up.
  int (*forward)(const CudaCall<S> &call, cuda::Stream stream);
  // The gradients that are wanted.
  int (*backward)(const CudaCall<S> &call, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::branch_sum
