// What the shim's autograd functions have in common.
#pragma once
#include <torch/types.h>

#include <torch/csrc/autograd/custom_function.h>

#include <string>

namespace pdarts {
namespace {

// The first thing that a backward pass does which leaves no graph of its own behind.
inline void refuse_double_backward(const char *name) {
  TORCH_CHECK(!at::GradMode::is_enabled(), name,
              ": its gradient cannot be differentiated; call backward without create_graph");
}

// Keeps what describes a call beside its differentiable inputs, for backward.
template <typename Object>
void save_object(torch::autograd::AutogradContext &context, const std::string &key, c10::intrusive_ptr<Object> object) {
  context.saved_data[key] = c10::IValue::make_capsule(std::move(object));
}

// The same in backward.
template <typename Object>
c10::intrusive_ptr<Object> saved_object(torch::autograd::AutogradContext &context, const std::string &key) {
  return c10::static_intrusive_pointer_cast<Object>(context.saved_data[key].toCapsule());
}

} // namespace
} // namespace pdarts
