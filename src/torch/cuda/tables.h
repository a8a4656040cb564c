// All GPU kernels, as one table.
#pragma once
#include "../branch_sum/cuda.h"
#include "../channelwise/cuda.h"
#include "../dropout/cuda.h"
#include "../mix/cuda.h"
#include "../pool/cuda.h"
#include "../separable/cuda.h"
#include "../windows/cuda.h"

namespace pdarts::cuda {

// For activations stored as S.
template <typename S> struct Table {
  branch_sum::CudaKernels<S> branch_sum;
  channelwise::CudaKernels<S> channelwise;
  dropout::CudaKernels<S> dropout;
  separable::CudaKernels<S> separable;
  windows::CudaKernels<S> windows;
  mix::CudaKernels<S> mix;
  pool::CudaKernels<S> pool;
};

struct Tables {
  Table<float> of_float;
  Table<double> of_double;
  Table<BFloat16> of_bfloat16;
};

} // namespace pdarts::cuda

// Of the kernels that are compiled into this program or library.
extern "C" const pdarts::cuda::Tables *pdarts_cuda_tables();
