#include "kernel_choice.h"

#include <atomic>

#include "activations.h"
#include "cuda/backend.h"
#include "shim.h"

namespace pdarts {
namespace {
std::atomic<bool> own_kernels{true};

// For activations of the right type that lie where `like` does.
Backend backend_at(const torch::Tensor &like) {
  if (!own_kernels) {
    return Backend::Composed;
  }
  if (cuda::serves(like)) {
    return Backend::Gpu;
  }
  return like.is_cpu() ? Backend::Cpu : Backend::Composed;
}
} // namespace

Backend backend_of(const torch::Tensor &like) {
  return is_storage_type(like.scalar_type()) ? backend_at(like) : Backend::Composed;
}

} // namespace pdarts

void pdarts_choose_kernels(bool own) { pdarts::own_kernels = own; }

bool pdarts_gpu_kernels_compute(const torch::Tensor *tensor) {
  return pdarts::backend_at(*tensor) == pdarts::Backend::Gpu;
}

bool pdarts_own_kernels_chosen() { return pdarts::own_kernels; }
