#include "reduction.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "../shim.h"

namespace pdarts::sync_batch_norm {
namespace {
std::atomic<pdarts_reduce> reduce{nullptr};
} // namespace

bool is_on() { return reduce.load() != nullptr; }

void sum_over_ranks(const torch::Tensor &values) {
  const auto call = reduce.load();
  // Switched off between a forward pass and its backward pass.
  TORCH_CHECK(call, "BatchNorm over all ranks was switched off during a step");
  if (char *message = call(&values)) {
    const std::string text = message;
    free(message);
    TORCH_CHECK(false, "BatchNorm over all ranks: ", text);
  }
}

void sum_over_ranks(std::vector<double> &values) {
  // Not a view of the vector: a reduction that fails may still hold its tensor.
  const auto sums = torch::empty({int64_t(values.size())}, torch::kDouble);
  double *data = sums.mutable_data_ptr<double>();
  std::copy(values.begin(), values.end(), data);
  sum_over_ranks(sums);
  std::copy_n(data, values.size(), values.begin());
}

} // namespace pdarts::sync_batch_norm

void pdarts_synchronise_batch_norm(pdarts_reduce call) { pdarts::sync_batch_norm::reduce = call; }
