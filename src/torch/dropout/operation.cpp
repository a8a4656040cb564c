// Dropout that can be recorded and replayed: on a GPU a draw is a function of a seed and the element's position, and backward
// draws again instead of keeping a mask. Elsewhere it is libtorch's.
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

#include "../activations.h"
#include "../cuda/backend.h"
#include "../graph/graph.h"
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../shim.h"

namespace pdarts::dropout {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Plan : torch::CustomClassHolder {
  graph::Draw draw;
};

// Elements in the order of memory, whatever that is: `x` and the result have the same strides.
Tensor dropped(const Tensor &x, const graph::Draw &draw) {
  const c10::DeviceGuard guard(x.device());
  Tensor y = at::empty_like(x);
  with_storage_type(x.scalar_type(), [&]<typename S>() {
    const int result = cuda::table<S>().dropout.forward(const_data<S>(x), mutable_data<S>(y), x.numel(), draw,
                                                        cuda::current_stream(x));
    cuda::check(result, "dropout");
  });
  return y;
}

Tensor without_gaps(const Tensor &x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

class Dropout : public torch::autograd::Function<Dropout> {
public:
  static Tensor forward(AutogradContext *context, const Tensor &x, double probability) {
    const auto plan = c10::make_intrusive<Plan>();
    plan->draw = graph::next_draw(probability);
    const Tensor from = without_gaps(x);
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    context->saved_data["strides"] = from.strides().vec();
    return dropped(from, plan->draw);
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    const auto strides = context->saved_data["strides"].toIntVector();
    Tensor gradient = gradients[0];
    if (gradient.strides() != at::IntArrayRef(strides)) {
      gradient = at::empty_strided(gradient.sizes(), strides, gradient.options()).copy_(gradient);
    }
    return {dropped(gradient, plan->draw), Tensor()};
  }
};

Tensor dropout(const Tensor &x, double probability) {
  RECORD_USER_SCOPE("pdarts::dropout");
  TORCH_CHECK(probability >= 0 && probability < 1, "dropout: probability ", probability, ": expected [0, 1)");
  return backend_of(x) == Backend::Gpu ? Dropout::apply(x, probability) : at::dropout(x, probability, /*train=*/true);
}

} // namespace
} // namespace pdarts::dropout

char *pdarts_dropout(const torch::Tensor *x, double probability, torch::Tensor **output) {
  return guarded([&] { *output = new torch::Tensor(pdarts::dropout::dropout(*x, probability)); });
}
