// BatchNorm of one tensor by the statistics of all ranks' images. On the CPU the kernels of `mix` serve: it is the sum of
// one operation on one edge with weight 1.
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../mix/mix.h"
#include "normalise.h"

namespace pdarts::sync_batch_norm {
namespace {

using torch::Tensor;

void check(const Layer &layer) {
  const Tensor &x = layer.x;
  TORCH_CHECK(x.dim() == 4 && x.numel() > 0, "BatchNorm over all ranks: input ", x.sizes(), ": expected [N, C, H, W]");
  for (const Tensor &values : {layer.weight, layer.bias, layer.running_mean, layer.running_var}) {
    TORCH_CHECK(!values.defined() || (values.dim() == 1 && values.size(0) == x.size(1) && values.device() == x.device()),
                "BatchNorm over all ranks: values ", values.sizes(), " on ", values.device(), " for an input ", x.sizes(),
                " on ", x.device());
  }
}

bool mix_serves(const Layer &layer) {
  const auto fits = [&](const Tensor &running) {
    return running.is_contiguous() && running.scalar_type() == layer.x.scalar_type();
  };
  return backend_of(layer.x) == Backend::Cpu && fits(layer.running_mean) && fits(layer.running_var);
}

Tensor normalised_by_mix(const Layer &layer) {
  const int64_t node = 0;
  const pdarts_mix_branch branch{&layer.x, &layer.running_mean, &layer.running_var, &node, 1, /*per_edge=*/false};
  Tensor *started = nullptr;
  mix::mix(&started, 1, &branch, 1, at::ones({1}, layer.x.options()), /*training=*/true);
  const std::unique_ptr<Tensor> sum(started);
  return layer.weight.defined() ? at::addcmul(layer.bias.view({1, -1, 1, 1}), *sum, layer.weight.view({1, -1, 1, 1}))
                                : *sum;
}

} // namespace
} // namespace pdarts::sync_batch_norm

char *pdarts_sync_batch_norm(const torch::Tensor *x, const torch::Tensor *weight, const torch::Tensor *bias,
                             const torch::Tensor *running_mean, const torch::Tensor *running_var,
                             torch::Tensor **output) {
  using namespace pdarts::sync_batch_norm;
  return guarded([&] {
    const auto optional = [](const Tensor *tensor) { return tensor ? *tensor : Tensor(); };
    const Layer layer{*x, optional(weight), optional(bias), *running_mean, *running_var};
    check(layer);
    *output = new Tensor(mix_serves(layer) ? normalised_by_mix(layer) : normalise({layer})[0]);
  });
}
