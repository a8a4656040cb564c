#include "shim.h"

#include <cstdlib>

#include "guarded.h"

char *pdarts_set_grad(torch::Tensor *parameter, torch::Tensor *gradient) {
  return guarded([&] { parameter->mutable_grad() = *gradient; });
}

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

void pdarts_free_message(char *message) { free(message); }

const char *pdarts_libtorch_version() { return TORCH_VERSION; }
