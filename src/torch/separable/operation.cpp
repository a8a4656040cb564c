// BatchNorm where there is one, ReLU, depthwise and pointwise convolution of one input for several edges, as one autograd
// function: what sep_conv and dil_conv are made of.
//
// On the CPU in bfloat16, single and double precision every image passes through all of it in a core's own cache, and
// nothing is kept for backward but the input and the weights: the normalised input and what is between the convolutions
// are computed again. On a GPU the kernels of cuda.h do the same in a few passes over memory, for all calls at once. Anything else
// is composed of libtorch's operations.
#include <tuple>

#include <ATen/record_function.h>

#include "../autograd_function.h"
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../sync_batch_norm/normalise.h"
#include "backward.h"
#include "forward.h"
#include "gpu.h"

namespace pdarts::separable {
namespace {

// In profiles.
constexpr const char *kName = "pdarts::separable";

// Its differentiable inputs stand in one list, BatchNorm's weight and bias only where it has them.
struct Inputs {
  const Tensor &x, &depthwise_weight, &pointwise_weight;
  Tensor norm_weight, norm_bias;

  explicit Inputs(at::TensorList tensors)
      : x(tensors[0]), depthwise_weight(tensors[1]), pointwise_weight(tensors[2]),
        norm_weight(tensors.size() > 3 ? tensors[3] : Tensor()), norm_bias(tensors.size() > 3 ? tensors[4] : Tensor()) {
  }
};

class Separable : public torch::autograd::Function<Separable> {
public:
  static Tensor forward(AutogradContext *context, at::TensorList tensors, PlanPointer plan) {
    variable_list saved(tensors.begin(), tensors.end());
    saved[0] = channelwise::as_pixels(tensors[0]);
    const Inputs inputs(saved);
    const Tensor y = with_storage_type(inputs.x.scalar_type(), [&]<typename S>() {
      return separable::forward<S>(*plan, inputs.x, inputs.depthwise_weight, inputs.pointwise_weight,
                                   inputs.norm_weight, inputs.norm_bias);
    });
    context->save_for_backward(saved);
    save_object(*context, "plan", plan);
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("separable convolution");
    const auto plan = saved_object<Plan>(*context, "plan");
    const variable_list saved = context->get_saved_variables();
    const Inputs inputs(saved);
    const bool affine = inputs.norm_weight.defined();
    const Wanted wanted{context->needs_input_grad(0), context->needs_input_grad(1), context->needs_input_grad(2),
                        affine && (context->needs_input_grad(3) || context->needs_input_grad(4))};
    const Tensor y_gradient = channelwise::as_pixels(gradients[0]);
    const Gradients of = with_storage_type(inputs.x.scalar_type(), [&]<typename S>() {
      return separable::backward<S>(*plan, wanted, inputs.x, inputs.depthwise_weight, inputs.pointwise_weight,
                                    inputs.norm_weight, inputs.norm_bias, y_gradient);
    });
    variable_list results{of.input, of.depthwise, of.pointwise};
    if (affine) {
      results.insert(results.end(), {of.norm_weight, of.norm_bias});
    }
    results.emplace_back(); // the plan's
    return results;
  }
};

Tensor on_cpu(const Call &call) {
  RECORD_USER_SCOPE(kName);
  variable_list tensors{call.x, call.depthwise_weight, call.pointwise_weight};
  if (call.norm_weight.defined()) {
    tensors.insert(tensors.end(), {call.norm_weight, call.norm_bias});
  }
  return Separable::apply(at::TensorList(tensors), call.plan);
}

// The same of libtorch's operations: any device and floating-point type.
Tensor composed(const Call &call) {
  RECORD_USER_SCOPE(kName);
  const Plan &plan = *call.plan;
  Tensor normalised = call.x;
  if (plan.over_ranks) {
    normalised = sync_batch_norm::normalise(
        {{call.x, call.norm_weight, call.norm_bias, plan.running_mean, plan.running_var}})[0];
  } else if (plan.normalised()) {
    normalised = at::batch_norm(call.x, call.norm_weight, call.norm_bias, plan.running_mean, plan.running_var,
                                plan.training, kMomentum, kEpsilon, /*cudnn_enabled=*/call.norm_weight.defined());
  }
  const Tensor middle = depthwise::composed(plan.shape, normalised, call.depthwise_weight);
  const std::vector<int64_t> one{1, 1}, none{0, 0};
  return at::conv2d(middle, call.pointwise_weight, {}, one, none, one, plan.groups);
}

PlanPointer plan_of(const Tensor &x, const Tensor &depthwise_weight, const Tensor &pointwise_weight, int64_t stride,
                    int64_t dilation) {
  auto plan = c10::make_intrusive<Plan>();
  plan->shape = depthwise::shape_of(x, depthwise_weight, stride, dilation);
  TORCH_CHECK(pointwise_weight.dim() == 4 && pointwise_weight.size(1) > 0 &&
                  plan->middle() % pointwise_weight.size(1) == 0 && pointwise_weight.size(2) == 1 &&
                  pointwise_weight.size(3) == 1,
              "separable convolution: pointwise weight ", pointwise_weight.sizes(), " for ", plan->middle(),
              " channels: expected [groups * outputs, channels / groups, 1, 1]");
  plan->groups = plan->middle() / pointwise_weight.size(1);
  TORCH_CHECK(pointwise_weight.size(0) > 0 && pointwise_weight.size(0) % plan->groups == 0,
              "separable convolution: pointwise weight ", pointwise_weight.sizes(), " for ", plan->groups, " groups");
  plan->outputs = pointwise_weight.size(0) / plan->groups;
  return plan;
}

void check_kind(const Tensor &x, const Tensor &other, const char *what, bool fits) {
  TORCH_CHECK(fits && other.device() == x.device(), "separable convolution: input of ", x.scalar_type(), " on ",
              x.device(), ", ", what, " of ", other.scalar_type(), " on ", other.device());
}

// Weights are stored as the input is, or in the type that it is computed with.
void check_weight(const Tensor &x, const Tensor &weight, const char *what) {
  check_kind(x, weight, what, weight.scalar_type() == x.scalar_type() || is_compute_type_of(x, weight));
}

void add_norm(Plan &plan, const Tensor &x, const pdarts_batch_norm &norm) {
  for (const Tensor *values : {norm.weight, norm.bias, norm.running_mean, norm.running_var}) {
    TORCH_CHECK(!values || (values->dim() == 1 && values->size(0) == x.size(1) && values->is_contiguous() &&
                            values->device() == x.device()),
                "separable convolution: BatchNorm values ", values->sizes(), " for an input ", x.sizes());
  }
  plan.running_mean = *norm.running_mean;
  plan.running_var = *norm.running_var;
  plan.training = norm.training;
  plan.over_ranks = norm.training && sync_batch_norm::is_on();
}

Call call_of(const pdarts_separable_call &from) {
  const auto plan = plan_of(*from.x, *from.depthwise_weight, *from.pointwise_weight, from.stride, from.dilation);
  Call call{plan, *from.x, *from.depthwise_weight, *from.pointwise_weight};
  if (const pdarts_batch_norm *norm = from.norm) {
    add_norm(*plan, call.x, *norm);
    call.norm_weight = norm->weight ? *norm->weight : Tensor();
    call.norm_bias = norm->bias ? *norm->bias : Tensor();
  }
  return call;
}

// Whether one launch can compute both.
bool go_together(const Call &first, const Call &second) {
  return first.x.device() == second.x.device() && first.x.scalar_type() == second.x.scalar_type();
}

Backend backend_for(const Call &call) {
  const Backend backend =
      call.plan->over_ranks && !call.x.is_cpu() ? Backend::Composed : backend_of(call.x);
  if (backend != Backend::Composed) {
    check_weight(call.x, call.depthwise_weight, "depthwise weight");
    check_weight(call.x, call.pointwise_weight, "pointwise weight");
    for (const Tensor &values : {call.plan->running_mean, call.plan->running_var, call.norm_weight, call.norm_bias}) {
      if (values.defined()) {
        check_kind(call.x, values, "BatchNorm", is_compute_type_of(call.x, values));
      }
    }
  }
  return backend;
}

} // namespace

variable_list separable(const std::vector<Call> &calls) {
  variable_list outputs(calls.size());
  std::vector<Call> together;
  std::vector<size_t> places; // of theirs
  const auto compute_together = [&] {
    RECORD_USER_SCOPE(kName);
    const variable_list computed = on_gpu(together);
    for (size_t index = 0; index < places.size(); ++index) {
      outputs[places[index]] = computed[index];
    }
    together.clear();
    places.clear();
  };
  for (size_t index = 0; index < calls.size(); ++index) {
    const Call &call = calls[index];
    switch (backend_for(call)) {
    case Backend::Composed: outputs[index] = composed(call); break;
    case Backend::Cpu: outputs[index] = on_cpu(call); break;
    case Backend::Gpu:
      if (!together.empty() && (together.size() == kMostCalls || !go_together(together[0], call))) {
        compute_together();
      }
      together.push_back(call);
      places.push_back(index);
    }
  }
  if (!together.empty()) {
    compute_together();
  }
  return outputs;
}

} // namespace pdarts::separable

char *pdarts_separable(const pdarts_separable_call *calls, size_t num_calls, torch::Tensor **outputs) {
  return guarded([&] {
    std::vector<pdarts::separable::Call> all;
    for (size_t index = 0; index < num_calls; ++index) {
      all.push_back(pdarts::separable::call_of(calls[index]));
    }
    const auto computed = pdarts::separable::separable(all);
    for (size_t index = 0; index < num_calls; ++index) {
      outputs[index] = new torch::Tensor(computed[index]);
    }
  });
}
