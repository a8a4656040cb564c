// The GPU kernels of the weighted sum of the operations that leave one state: BatchNorm without affine, the architecture weight
// and the sum over operations, forward and backward.
//
// Activations are dense: [pixels, channels]; operations' outputs are stored as S, the nodes' sums as what S is computed with. All
// pointers are to the device's memory; sums over pixels are taken in an order that depends on the sizes alone. Functions return a
// cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::mix {

constexpr int kMaxCudaBranches = 16, kMaxCudaEdges = 48, kMaxCudaNodes = 8;

// An operation's output y: [pixels, blocks * channels], with a block for each of its edges or one block for all.
template <typename S> struct CudaBranch {
  const S *y;
  int blocks;
  Compute<S> *running_mean, *running_var; // [blocks * channels], moved in training; null if it is not normalised
  S *y_gradient;                          // as y; in a backward pass, null if not wanted
  int first_row;                          // of its blocks in the statistics
};

struct CudaEdge {
  int branch, block, node;
};

// What a call works on. Statistics are [2, rows, channels]: mean and 1 / deviation of each block of each branch in turn (0 and 1
// where it is not normalised); written forward, read backward.
template <typename S> struct CudaCall {
  using T = Compute<S>;
  int64_t pixels;
  int channels, num_branches, num_edges, num_nodes, num_rows;
  bool training;
  CudaBranch<S> branches[kMaxCudaBranches];
  CudaEdge edges[kMaxCudaEdges];  // in the order of the weights
  T *sums[kMaxCudaNodes];         // [pixels, channels]: forward, the nodes' sums; backward, their gradients, null where zero
  bool is_new[kMaxCudaNodes];     // forward: whether a sum begins with this call
  const T *weights;               // [num_edges]
  T *weights_gradient;            // backward, null if not wanted
  T *statistics;
  void *workspace;
};

template <typename S> struct CudaKernels {
  int64_t (*workspace_bytes)(const CudaCall<S> &call);
  // sums[node] (+)= sum over its edges of weight * (y - mean) / deviation.
  int (*forward)(const CudaCall<S> &call, cuda::Stream stream);
  // The gradients of the weights and of the branches' outputs; those of the sums pass on as they are.
  int (*backward)(const CudaCall<S> &call, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::mix
