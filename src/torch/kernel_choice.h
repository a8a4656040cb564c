// Whether the shim's own CPU kernels or libtorch's operations compute.
#pragma once
#include <torch/types.h>

namespace pdarts {

// Whether own kernels serve tensors like this one: in single and double precision on the CPU, unless
// `pdarts_choose_kernels` has put libtorch's operations in their place. Anything else is composed of these anyway.
bool own_kernels_serve(const torch::Tensor &like);
// Whether they do for the types that they store and devices that they know.
bool own_kernels_are_chosen();

} // namespace pdarts
