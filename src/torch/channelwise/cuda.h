// The GPU kernels of BatchNorm: statistics of a batch, and the gradient that passes through them.
//
// Activations are dense: [pixels, channels]. All pointers are to the device's memory; sums over pixels are taken in an order
// that depends on the sizes alone. Functions return a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::channelwise {

// BatchNorm of x, stored as S, up to its application: x is to be normalised as scale * x + shift.
template <typename S> struct CudaNorm {
  using T = Compute<S>;
  int64_t pixels;
  int channels;
  const S *x;
  const T *weight, *bias;       // [channels], null where there are none
  T *running_mean, *running_var; // [channels], moved in training
  bool training;
  T *scale, *shift;              // [channels], results
  T *mean, *inverse_deviation;   // [channels], results
  void *workspace;
};

// From the gradient G of scale * x + shift to that of x, in place, with a = scale:
// a * (G - sum(G) / pixels) - a * (x - mean) * inverse_deviation^2 * sum(G * (x - mean)) / pixels, the sums in training only.
template <typename S> struct CudaNormGradient {
  using T = Compute<S>;
  int64_t pixels;
  int channels;
  bool training;
  const S *x;
  const T *scale, *mean, *inverse_deviation; // [channels]
  const T *sums;                             // [2, channels]: of G and of G * (x - mean)
  T *weight_gradient, *bias_gradient;        // [channels]: sum of G * (x - mean) * inverse_deviation, sum of G; null if not wanted
  S *gradient;                               // null where only those of weight and bias are wanted
};

// Norms that are computed together.
constexpr int kMostNorms = 5;

// At most kMostNorms of them, each with a workspace of its own.
template <typename S> struct CudaKernels {
  int64_t (*norm_workspace_bytes)(int64_t pixels, int channels);
  int (*norm)(const CudaNorm<S> *norms, int num_norms, cuda::Stream stream);
  int (*norm_gradient)(const CudaNormGradient<S> *gradients, int num_gradients, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::channelwise
