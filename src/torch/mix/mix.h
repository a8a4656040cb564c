// The operation as other C++ of the shim calls it.
#pragma once
#include "../shim.h"

namespace pdarts::mix {

// Whether the CPU kernels serve tensors like this one; anything else is composed of libtorch's operations.
bool has_kernels(const torch::Tensor &like);

// As `pdarts_mix`; throws.
void mix(torch::Tensor **sums, int64_t num_sums, const pdarts_mix_branch *branches, int64_t num_branches,
         const torch::Tensor &weights, bool training);

} // namespace pdarts::mix
