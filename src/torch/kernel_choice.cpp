#include "kernel_choice.h"

#include <atomic>

#include "shim.h"

namespace pdarts {
namespace {
std::atomic<bool> own_kernels{true};
} // namespace

bool own_kernels_serve(const torch::Tensor &like) {
  return own_kernels && like.is_cpu() && (like.scalar_type() == at::kFloat || like.scalar_type() == at::kDouble);
}

bool own_convolutions_serve(const torch::Tensor &x) {
  return own_kernels_serve(x) || (own_kernels && x.is_cpu() && x.scalar_type() == at::kBFloat16);
}

} // namespace pdarts

void pdarts_choose_kernels(bool own) { pdarts::own_kernels = own; }

bool pdarts_own_kernels_chosen() { return pdarts::own_kernels; }
