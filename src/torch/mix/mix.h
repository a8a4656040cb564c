// The operation as other C++ of the shim calls it.
#pragma once
#include "../shim.h"

namespace pdarts::mix {

// As `pdarts_mix`; throws.
void mix(torch::Tensor **sums, int64_t num_sums, const pdarts_mix_branch *branches, int64_t num_branches,
         const torch::Tensor &weights, bool training);

} // namespace pdarts::mix
