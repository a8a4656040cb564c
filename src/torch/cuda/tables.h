// All GPU kernels, as one table that the program has where nvcc compiled them; tests put the emulated ones in its place.
#pragma once
#include "../channelwise/cuda.h"
#include "../mix/cuda.h"
#include "../pool/cuda.h"
#include "../separable/cuda.h"

namespace pdarts::cuda {

// For activations stored as S.
template <typename S> struct ConvolutionTable {
  channelwise::CudaKernels<S> channelwise;
  separable::CudaKernels<S> separable;
};

template <typename S> struct Table : ConvolutionTable<S> {
  mix::CudaKernels<S> mix;
  pool::CudaKernels<S> pool;
};

struct Tables {
  Table<float> of_float;
  Table<double> of_double;
  ConvolutionTable<BFloat16> of_bfloat16;
};

} // namespace pdarts::cuda
