// Whether the shim's own CPU kernels or libtorch's operations compute.
#pragma once
#include <torch/types.h>

namespace pdarts {

// Whether own kernels serve tensors like this one: in single and double precision on the CPU, unless
// `pdarts_choose_kernels` has put libtorch's operations in their place. Anything else is composed of these anyway.
bool own_kernels_serve(const torch::Tensor &like);
// The same of the convolutions' kernels, which serve activations in bfloat16, too.
bool own_convolutions_serve(const torch::Tensor &x);

} // namespace pdarts
