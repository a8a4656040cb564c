// Tensors that the CPU kernels cannot read where they lie.
#pragma once
#include <torch/types.h>

namespace pdarts {

// A copy in channels-last memory; counted.
torch::Tensor channels_last_copy(const torch::Tensor &tensor);

} // namespace pdarts
