#include "shim.h"

#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>

#include <cstdlib>

#include "guarded.h"

namespace {
// A tensor holds its accumulator weakly: the hook keeps it.
struct Hook {
  decltype(torch::autograd::impl::grad_accumulator(torch::Tensor())) accumulator;
  uintptr_t key;
};
} // namespace

char *pdarts_gradients(const torch::Tensor *output, const torch::Tensor *output_gradient,
                       const torch::Tensor *const *inputs, size_t num_inputs, torch::Tensor **gradients) {
  return guarded([&] {
    torch::autograd::variable_list wanted;
    for (size_t index = 0; index < num_inputs; ++index) {
      wanted.push_back(*inputs[index]);
    }
    const auto computed = torch::autograd::grad({*output}, wanted, {*output_gradient});
    for (size_t index = 0; index < num_inputs; ++index) {
      gradients[index] = new torch::Tensor(computed[index]);
    }
  });
}

char *pdarts_on_gradient(const torch::Tensor *parameter, bool (*ready)(const void *, size_t), const void *context,
                         size_t index, void **hook) {
  return guarded([&] {
    auto accumulator = torch::autograd::impl::grad_accumulator(*parameter);
    TORCH_CHECK(accumulator, "a hook on a tensor that needs no gradient");
    const auto call = [=](const torch::autograd::variable_list &outputs, const torch::autograd::variable_list &) {
      TORCH_CHECK(ready(context, index), "the backward pass was ended after a gradient");
      return outputs;
    };
    const uintptr_t key =
        accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(call));
    *hook = new Hook{std::move(accumulator), key};
  });
}

void pdarts_release_hook(void *hook) {
  auto *owned = static_cast<Hook *>(hook);
  owned->accumulator->del_post_hook(owned->key);
  delete owned;
}

void pdarts_free_message(char *message) { free(message); }

const char *pdarts_libtorch_version() { return TORCH_VERSION; }
