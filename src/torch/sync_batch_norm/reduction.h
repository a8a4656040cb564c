// Sums over ranks for BatchNorm's statistics: how they are taken is set from Rust, once for the process.
#pragma once
#include <torch/types.h>

#include <vector>

namespace pdarts::sync_batch_norm {

// Whether BatchNorm in training takes the statistics of all ranks' images.
bool is_on();

// Replace values by their sums over all ranks, the same on each; throw when the ranks cannot be reached. All ranks must
// come here in one order.
void sum_over_ranks(const torch::Tensor &values);
void sum_over_ranks(std::vector<double> &values);

} // namespace pdarts::sync_batch_norm
