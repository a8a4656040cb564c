// The GPU kernel of dropout. Pointers are to the device's memory; returns a cudaError_t, 0 for success.
#pragma once
#include "../cuda/language.h"

namespace pdarts::dropout {

// What the draws depend on; see ../graph/graph.h. Pointers that are not null win.
struct CudaDraw {
  uint64_t seed;
  double probability;
  const uint64_t *replayed_seed;
  const double *replayed_probability;
};

template <typename S> struct CudaKernels {
  // y[i] = x[i] / (1 - probability), or 0 with this probability; the same for the same draw.
  int (*forward)(const S *x, S *y, int64_t count, const CudaDraw &draw, cuda::Stream stream);
};

extern const CudaKernels<float> cuda_float_kernels;
extern const CudaKernels<double> cuda_double_kernels;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels;

} // namespace pdarts::dropout
