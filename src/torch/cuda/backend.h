// The GPU kernels as the operations call them: from the program, where nvcc compiled them, or emulated, for tests.
#pragma once
#include <torch/types.h>

#include "tables.h"

namespace pdarts::cuda {

// Whether there are GPU kernels for where `like` lies.
bool serves(const torch::Tensor &like);

// All of them; there must be some.
const Tables &tables();

// Those for activations stored as S.
template <typename S> const Table<S> &table() {
  if constexpr (std::is_same_v<S, float>) {
    return tables().of_float;
  } else if constexpr (std::is_same_v<S, double>) {
    return tables().of_double;
  } else {
    return tables().of_bfloat16;
  }
}

// The stream that libtorch queues operations on tensors like this one on; none in the emulation.
Stream current_stream(const torch::Tensor &like);

// Throws for anything but 0, what a kernel's launch came to.
void check(int result, const char *what);

} // namespace pdarts::cuda
