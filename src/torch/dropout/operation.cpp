// Dropout that can be recorded and replayed: on a GPU a draw is a function of a seed and the element's position, and backward
// draws again instead of keeping a mask; several draws from one tensor are one kernel. Elsewhere it is libtorch's.
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

#include "../activations.h"
#include "../autograd_function.h"
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

Tensor without_gaps(const Tensor &x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

// Elements in the order of memory, whatever that is: `x`, its copies and all gradients have the same strides.
class Dropouts : public torch::autograd::Function<Dropouts> {
public:
  static variable_list forward(AutogradContext *context, const Tensor &input, double probability, int64_t num_copies) {
    const auto plan = c10::make_intrusive<Plan>();
    plan->draw = graph::next_draw(probability);
    const Tensor x = without_gaps(input);
    save_object(*context, "plan", plan);
    context->saved_data["strides"] = x.strides().vec();
    const c10::DeviceGuard guard(x.device());
    variable_list ys;
    with_storage_type(x.scalar_type(), [&]<typename S>() {
      Copies<S> y{{}, int(num_copies)};
      for (int copy = 0; copy < num_copies; ++copy) {
        ys.push_back(at::empty_like(x));
        y.at[copy] = mutable_data<S>(ys.back());
      }
      const auto &kernels = cuda::table<S>().dropout;
      cuda::check(kernels.forward(const_data<S>(x), y, x.numel(), plan->draw, cuda::current_stream(x)), "dropout");
    });
    return ys;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    const auto plan = saved_object<Plan>(*context, "plan");
    const auto strides = context->saved_data["strides"].toIntVector();
    for (Tensor &gradient : gradients) {
      if (gradient.strides() != at::IntArrayRef(strides)) {
        gradient = at::empty_strided(gradient.sizes(), strides, gradient.options()).copy_(gradient);
      }
    }
    const Tensor &like = gradients[0];
    const c10::DeviceGuard guard(like.device());
    Tensor x_gradient = at::empty_like(like);
    with_storage_type(like.scalar_type(), [&]<typename S>() {
      Copies<const S> of_copies{{}, int(gradients.size())};
      for (size_t copy = 0; copy < gradients.size(); ++copy) {
        of_copies.at[copy] = const_data<S>(gradients[copy]);
      }
      const int result = cuda::table<S>().dropout.backward(of_copies, mutable_data<S>(x_gradient), like.numel(), plan->draw,
                                                           cuda::current_stream(like));
      cuda::check(result, "dropout backward");
    });
    return {x_gradient, Tensor(), Tensor()};
  }
};

variable_list dropouts(const Tensor &x, double probability, int64_t num_copies) {
  RECORD_USER_SCOPE("pdarts::dropouts");
  TORCH_CHECK(probability >= 0 && probability < 1, "dropout: probability ", probability, ": expected [0, 1)");
  variable_list ys;
  while (int64_t(ys.size()) < num_copies) {
    if (backend_of(x) == Backend::Gpu) {
      const auto number = std::min<int64_t>(num_copies - ys.size(), kMostCopies);
      for (Tensor &y : Dropouts::apply(x, probability, number)) {
        ys.push_back(std::move(y));
      }
    } else {
      ys.push_back(at::dropout(x, probability, /*train=*/true));
    }
  }
  return ys;
}

} // namespace
} // namespace pdarts::dropout

char *pdarts_dropouts(const torch::Tensor *x, double probability, size_t num_copies, torch::Tensor **outputs) {
  return guarded([&] {
    const auto ys = pdarts::dropout::dropouts(*x, probability, int64_t(num_copies));
    for (size_t copy = 0; copy < num_copies; ++copy) {
      outputs[copy] = new torch::Tensor(ys[copy]);
    }
  });
}
