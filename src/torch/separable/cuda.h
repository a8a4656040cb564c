// The GPU kernels of scale, shift, ReLU, depthwise and grouped pointwise convolution, forward and backward.
//
// Activations are dense: [images, height, width, channels]. All pointers are to the device's memory; sums over pixels are taken
// in an order that depends on the sizes alone. Functions return a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::separable {

// Middle channel m, between the two convolutions, reads channel m % channels of the input; group g of the pointwise convolution
// reads the middle channels [g * middle / groups, (g + 1) * middle / groups) and gives the outputs [g * outputs, (g + 1) * outputs).
// The depthwise padding is dilation * (kernel - 1) / 2.
struct CudaShape {
  int images, height, width, channels; // of the input
  int out_height, out_width;
  int middle;
  int kernel, stride, dilation; // 3, 5 or 7; 1 or 2; 1 or 2
  int groups, outputs;          // outputs: of one group

  PDARTS_HOST_DEVICE int inputs() const { return middle / groups; } // of one group
  PDARTS_HOST_DEVICE int64_t in_pixels() const { return int64_t(images) * height * width; }
  PDARTS_HOST_DEVICE int64_t out_pixels() const { return int64_t(images) * out_height * out_width; }
};

// Activations are stored as S.
template <typename S> struct CudaForward {
  using T = Compute<S>;
  CudaShape shape;
  const S *x;
  const T *scale, *shift; // [channels], null: x as it is
  const T *depthwise;     // [middle, kernel * kernel]
  const T *pointwise;     // [groups * outputs, inputs]
  S *y;                   // [images, out_height, out_width, groups * outputs]
};

// Results that are null are not wanted.
template <typename S> struct CudaBackward {
  using T = Compute<S>;
  CudaShape shape;
  const S *x;
  const T *scale, *shift; // as in the forward pass
  const T *depthwise, *pointwise;
  const S *y_gradient;
  S *x_gradient;         // of scale * x + shift: what passes the ReLU, added up over the calls that share it (and x, without scale)
  T *depthwise_gradient; // as depthwise
  T *pointwise_gradient; // as pointwise
  const T *mean;         // [channels], with norm_sums
  T *norm_sums;          // [2, channels]: sums over the batch of x_gradient and of x_gradient * (x - mean)
};

// Calls that are computed together.
constexpr int kMostCalls = 5;

// At most kMostCalls calls, none of which reads what another writes.
template <typename S> struct CudaKernels {
  int (*forward)(const CudaForward<S> *calls, int num_calls, cuda::Stream stream);
  int64_t (*backward_workspace_bytes)(const CudaBackward<S> *calls, int num_calls);
  int (*backward)(const CudaBackward<S> *calls, int num_calls, void *workspace, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::separable
