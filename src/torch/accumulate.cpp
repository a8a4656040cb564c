// How gradients come from where backward left them into one buffer.
//
// Autograd takes over the tensor that an operation computed as the gradient of a parameter that has none; to one that is there it
// adds, in a kernel for each parameter. So a parameter has no gradient before a backward pass, and what the pass left is added
// here, many at once.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>

#include <vector>

#include "guarded.h"
#include "shim.h"

char *pdarts_accumulate_gradients(const torch::Tensor *const *parameters, const torch::Tensor *const *sums,
                                  size_t num_parameters) {
  return guarded([&] {
    const at::NoGradGuard no_grad;
    std::vector<torch::Tensor> targets, gradients;
    for (size_t index = 0; index < num_parameters; ++index) {
      const torch::Tensor gradient = parameters[index]->grad();
      if (gradient.defined()) {
        parameters[index]->mutable_grad().reset();
        // In one dimension: a single pair of other strides, if only along a dimension of size 1, and CUDA adds one by one.
        gradients.push_back(gradient.contiguous().view({-1}));
        targets.push_back(*sums[index]);
      }
    }
    if (!targets.empty()) {
      at::_foreach_add_(targets, gradients);
    }
  });
}

void pdarts_drop_gradients(const torch::Tensor *const *parameters, size_t num_parameters) {
  for (size_t index = 0; index < num_parameters; ++index) {
    if (parameters[index]->grad().defined()) {
      parameters[index]->mutable_grad().reset();
    }
  }
}
