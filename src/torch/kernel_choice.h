// What computes an operation: kernels of this shim for CPUs or for GPUs, or libtorch's operations.
#pragma once
#include <torch/types.h>

namespace pdarts {

enum class Backend {
  Cpu,      // own kernels in the folders of the operations
  Gpu,      // the cuda.cu beside them, where there are any
  Composed, // of libtorch's operations: any device and floating-point type
};

// What serves activations like this one: own kernels for the types of storage.h, unless `pdarts_choose_kernels` has put
// libtorch's operations in their place.
Backend backend_of(const torch::Tensor &like);

} // namespace pdarts
