// The operation on a GPU, for several calls at a time: as on the CPU, backward keeps inputs and weights alone, and what the inputs
// are normalised by.
#pragma once
#include <c10/core/DeviceGuard.h>

#include "../autograd_function.h"
#include "../cuda/backend.h"
#include "backward.h"

namespace pdarts::separable {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What the input is multiplied with and moved by, and what that came from: [channels]; undefined where there is no BatchNorm.
struct GpuNorm {
  Tensor scale, shift, mean, inverse_deviation;
};

at::TensorOptions computed_options(const Tensor &x) {
  return x.options().dtype(x.scalar_type() == at::kBFloat16 ? at::kFloat : x.scalar_type());
}

template <typename T> const T *values_or_null(const Tensor &tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

CudaShape cuda_shape(const Plan &plan) {
  const auto &s = plan.shape;
  return {.images = int(s.images),
          .height = int(s.height),
          .width = int(s.width),
          .channels = int(s.channels),
          .out_height = int(s.out_height),
          .out_width = int(s.out_width),
          .middle = int(plan.middle()),
          .kernel = int(s.kernel),
          .stride = int(s.stride),
          .dilation = int(s.dilation),
          .groups = int(plan.groups),
          .outputs = int(plan.outputs)};
}

int64_t pixels_of(const Tensor &x) { return x.numel() / x.size(1); }

Tensor new_workspace(const Tensor &like, int64_t bytes) { return at::empty({bytes}, like.options().dtype(at::kByte)); }

// An input with BatchNorm's weight and bias, where it has them.
struct GpuInput {
  const Plan &plan;
  Tensor x, weight, bias;
};

// What each is normalised by.
template <typename S> std::vector<GpuNorm> take_norms(const std::vector<GpuInput> &inputs) {
  using T = Compute<S>;
  const auto &kernels = cuda::table<S>().channelwise;
  std::vector<GpuNorm> norms;
  variable_list workspaces;
  std::vector<channelwise::CudaNorm<S>> of_kernels;
  for (const GpuInput &input : inputs) {
    const Plan &plan = input.plan;
    const Tensor &x = input.x;
    if (!plan.normalised()) {
      norms.emplace_back();
      continue;
    }
    TORCH_CHECK(!plan.training || pixels_of(x) > 1, "separable convolution: no variance in an input ", x.sizes(),
                ": training needs more than one value per channel");
    const int64_t channels = x.size(1);
    const auto new_values = [&, like = computed_options(x)] { return at::empty({channels}, like); };
    const GpuNorm &norm = norms.emplace_back(GpuNorm{new_values(), new_values(), new_values(), new_values()});
    workspaces.push_back(new_workspace(x, kernels.norm_workspace_bytes(pixels_of(x), int(channels))));
    of_kernels.push_back({.pixels = pixels_of(x),
                          .channels = int(channels),
                          .x = const_data<S>(x),
                          .weight = values_or_null<T>(input.weight),
                          .bias = values_or_null<T>(input.bias),
                          .running_mean = plan.running_mean.mutable_data_ptr<T>(),
                          .running_var = plan.running_var.mutable_data_ptr<T>(),
                          .training = plan.training,
                          .scale = norm.scale.mutable_data_ptr<T>(),
                          .shift = norm.shift.mutable_data_ptr<T>(),
                          .mean = norm.mean.mutable_data_ptr<T>(),
                          .inverse_deviation = norm.inverse_deviation.mutable_data_ptr<T>(),
                          .workspace = workspaces.back().mutable_data_ptr()});
  }
  if (!of_kernels.empty()) {
    cuda::check(kernels.norm(of_kernels.data(), int(of_kernels.size()), cuda::current_stream(inputs[0].x)), "BatchNorm");
  }
  return norms;
}

// A call on its tensors.
struct GpuCall {
  const Plan &plan;
  Tensor x, depthwise, pointwise; // the weights in the type that is computed with
  GpuNorm norm;

  bool is_empty() const { return x.numel() == 0; }
  // Whether both read one input as it is, so that their gradients of it can be one.
  bool shares_input(const GpuCall &other) const {
    return !plan.normalised() && !other.plan.normalised() && x.is_same(other.x);
  }
};

template <typename S> variable_list gpu_forward(const std::vector<GpuCall> &calls) {
  using T = Compute<S>;
  variable_list outputs;
  std::vector<CudaForward<S>> of_kernels;
  for (const GpuCall &call : calls) {
    const auto &s = call.plan.shape;
    const Tensor y = at::empty({s.images, call.plan.groups * call.plan.outputs, s.out_height, s.out_width},
                               call.x.options(), at::MemoryFormat::ChannelsLast);
    outputs.push_back(y);
    if (!call.is_empty()) {
      of_kernels.push_back({.shape = cuda_shape(call.plan),
                            .x = const_data<S>(call.x),
                            .scale = values_or_null<T>(call.norm.scale),
                            .shift = values_or_null<T>(call.norm.shift),
                            .depthwise = call.depthwise.const_data_ptr<T>(),
                            .pointwise = call.pointwise.const_data_ptr<T>(),
                            .y = mutable_data<S>(y)});
    }
  }
  const auto stream = cuda::current_stream(calls[0].x);
  cuda::check(cuda::table<S>().separable.forward(of_kernels.data(), int(of_kernels.size()), stream),
              "separable convolution");
  return outputs;
}

// The memory for a call's gradients, zero where nothing will be computed. Of an input that calls share the first of them has it.
Gradients new_gradients(const GpuCall &call, const Wanted &wanted, bool has_input) {
  const auto like = [&](bool is_wanted, const Tensor &tensor) {
    return !is_wanted ? Tensor() : call.is_empty() ? at::zeros_like(tensor) : at::empty_like(tensor);
  };
  const Tensor input = has_input && wanted.normalised_input()
                           ? at::empty(call.x.sizes(), call.x.options(), at::MemoryFormat::ChannelsLast)
                           : Tensor();
  return {input, like(wanted.depthwise, call.depthwise), like(wanted.pointwise, call.pointwise),
          like(wanted.norm, call.norm.mean), like(wanted.norm, call.norm.mean)};
}

template <typename T> T *mutable_values_or_null(const Tensor &tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

// From the gradients of what the calls' BatchNorms give to those of their inputs, in place, and to those of weights and biases.
// `sums`: of each call that has such a gradient.
template <typename S>
void pass_through_norms(const std::vector<GpuCall> &calls, const std::vector<Wanted> &wanted, const variable_list &sums,
                        const std::vector<Gradients> &gradients) {
  using T = Compute<S>;
  std::vector<channelwise::CudaNormGradient<S>> of_kernels;
  for (size_t index = 0; index < calls.size(); ++index) {
    if (sums[index].defined()) {
      const GpuCall &call = calls[index];
      of_kernels.push_back({.pixels = pixels_of(call.x),
                            .channels = int(call.x.size(1)),
                            .training = call.plan.training,
                            .x = const_data<S>(call.x),
                            .scale = call.norm.scale.const_data_ptr<T>(),
                            .mean = call.norm.mean.const_data_ptr<T>(),
                            .inverse_deviation = call.norm.inverse_deviation.const_data_ptr<T>(),
                            .sums = sums[index].const_data_ptr<T>(),
                            .weight_gradient = mutable_values_or_null<T>(gradients[index].norm_weight),
                            .bias_gradient = mutable_values_or_null<T>(gradients[index].norm_bias),
                            .gradient = wanted[index].input ? mutable_data<S>(gradients[index].input) : nullptr});
    }
  }
  if (!of_kernels.empty()) {
    const auto stream = cuda::current_stream(calls[0].x);
    cuda::check(cuda::table<S>().channelwise.norm_gradient(of_kernels.data(), int(of_kernels.size()), stream),
                "BatchNorm, backward");
  }
}

// Gradients of each call, undefined where not wanted; weights' in the type that is computed with. The gradient of an input that
// calls share is the first's.
template <typename S>
std::vector<Gradients> gpu_backward(const std::vector<GpuCall> &calls, const std::vector<Wanted> &wanted,
                                    const variable_list &y_gradients) {
  using T = Compute<S>;
  std::vector<Gradients> gradients;
  variable_list norm_sums;
  std::vector<CudaBackward<S>> of_kernels;
  for (size_t index = 0; index < calls.size(); ++index) {
    const GpuCall &call = calls[index];
    size_t first = 0; // with this input
    while (first < index && !call.shares_input(calls[first])) {
      ++first;
    }
    gradients.push_back(new_gradients(call, wanted[index], first == index));
    const Gradients &own = gradients[index];
    const Tensor &input = gradients[first].input;
    const bool takes_sums = call.plan.normalised() && input.defined() && !call.is_empty();
    norm_sums.push_back(takes_sums ? at::empty({2, call.x.size(1)}, computed_options(call.x)) : Tensor());
    if (!call.is_empty()) {
      of_kernels.push_back({.shape = cuda_shape(call.plan),
                            .x = const_data<S>(call.x),
                            .scale = values_or_null<T>(call.norm.scale),
                            .shift = values_or_null<T>(call.norm.shift),
                            .depthwise = call.depthwise.const_data_ptr<T>(),
                            .pointwise = call.pointwise.const_data_ptr<T>(),
                            .y_gradient = const_data<S>(y_gradients[index]),
                            .x_gradient = input.defined() ? mutable_data<S>(input) : nullptr,
                            .depthwise_gradient = mutable_values_or_null<T>(own.depthwise),
                            .pointwise_gradient = mutable_values_or_null<T>(own.pointwise),
                            .mean = values_or_null<T>(call.norm.mean),
                            .norm_sums = mutable_values_or_null<T>(norm_sums[index])});
    }
  }
  const auto &kernels = cuda::table<S>().separable;
  const int num_calls = int(of_kernels.size());
  const Tensor workspace = new_workspace(calls[0].x, kernels.backward_workspace_bytes(of_kernels.data(), num_calls));
  cuda::check(kernels.backward(of_kernels.data(), num_calls, workspace.mutable_data_ptr(),
                               cuda::current_stream(calls[0].x)),
              "separable convolution, backward");
  pass_through_norms<S>(calls, wanted, norm_sums, gradients);
  return gradients;
}

// Calls without their differentiable inputs, which stand in one list: first the distinct x, then for each call its weights, of the
// depthwise and of the pointwise convolution, and weight and bias of its BatchNorm where it has them.
struct GpuCalls : torch::CustomClassHolder {
  struct Member {
    PlanPointer plan;
    size_t input, weights; // where they stand
    bool affine;
    at::ScalarType depthwise_type, pointwise_type;
  };
  size_t num_inputs = 0;
  std::vector<Member> members;

  // Puts the differentiable inputs of `calls` into `tensors`.
  GpuCalls(const std::vector<Call> &calls, variable_list &tensors) {
    for (const Call &call : calls) {
      const auto same = [&](const Tensor &other) { return other.is_same(call.x); };
      const size_t input = std::find_if(tensors.begin(), tensors.end(), same) - tensors.begin();
      if (input == tensors.size()) {
        tensors.push_back(call.x);
      }
      members.push_back({call.plan, input, 0, call.norm_weight.defined(), call.depthwise_weight.scalar_type(),
                         call.pointwise_weight.scalar_type()});
    }
    num_inputs = tensors.size();
    for (size_t index = 0; index < calls.size(); ++index) {
      const Call &call = calls[index];
      members[index].weights = tensors.size();
      tensors.insert(tensors.end(), {call.depthwise_weight, call.pointwise_weight});
      if (members[index].affine) {
        tensors.insert(tensors.end(), {call.norm_weight, call.norm_bias});
      }
    }
  }
};

class GpuSeparable : public torch::autograd::Function<GpuSeparable> {
public:
  static variable_list forward(AutogradContext *context, at::TensorList tensors,
                               c10::intrusive_ptr<GpuCalls> described) {
    const c10::DeviceGuard guard(tensors[0].device());
    // The inputs, then what GpuCall has of each call.
    variable_list saved;
    for (const Tensor &x : tensors.slice(0, described->num_inputs)) {
      saved.push_back(dense(x));
    }
    const auto type = computed_options(saved[0]).dtype();
    variable_list outputs = with_storage_type(saved[0].scalar_type(), [&]<typename S>() {
      std::vector<GpuInput> inputs;
      for (const auto &member : described->members) {
        const at::TensorList weights = tensors.slice(member.weights);
        inputs.push_back({*member.plan, saved[member.input], member.affine ? weights[2] : Tensor(),
                          member.affine ? weights[3] : Tensor()});
      }
      const std::vector<GpuNorm> norms = take_norms<S>(inputs);
      std::vector<GpuCall> calls;
      for (size_t index = 0; index < norms.size(); ++index) {
        const at::TensorList weights = tensors.slice(described->members[index].weights);
        const GpuNorm &norm = norms[index];
        const GpuCall &call = calls.emplace_back(GpuCall{inputs[index].plan, inputs[index].x,
                                                         weights[0].to(type).contiguous(),
                                                         weights[1].to(type).contiguous(), norm});
        saved.insert(saved.end(), {call.depthwise, call.pointwise, norm.scale, norm.shift, norm.mean, norm.inverse_deviation});
      }
      return gpu_forward<S>(calls);
    });
    context->save_for_backward(std::move(saved));
    save_object(*context, "calls", described);
    return outputs;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("separable convolution");
    const auto described = saved_object<GpuCalls>(*context, "calls");
    const variable_list saved = context->get_saved_variables();
    const c10::DeviceGuard guard(saved[0].device());
    std::vector<GpuCall> calls;
    std::vector<Wanted> wanted;
    auto of_call = saved.begin() + described->num_inputs;
    size_t num_results = described->num_inputs;
    for (const auto &member : described->members) {
      calls.push_back({*member.plan, saved[member.input], of_call[0], of_call[1],
                       {of_call[2], of_call[3], of_call[4], of_call[5]}});
      of_call += 6;
      const auto is_wanted = [&](size_t index) { return context->needs_input_grad(index); };
      wanted.push_back({is_wanted(member.input), is_wanted(member.weights), is_wanted(member.weights + 1),
                        member.affine && (is_wanted(member.weights + 2) || is_wanted(member.weights + 3))});
      num_results = member.weights + (member.affine ? 4 : 2);
    }
    for (Tensor &gradient : gradients) {
      gradient = dense(gradient);
    }
    const auto of_calls = with_storage_type(saved[0].scalar_type(),
                                            [&]<typename S>() { return gpu_backward<S>(calls, wanted, gradients); });
    variable_list results(num_results + 1); // and that of `described`
    const auto as = [](const Tensor &gradient, at::ScalarType type) {
      return gradient.defined() ? gradient.to(type) : gradient;
    };
    for (size_t index = 0; index < calls.size(); ++index) {
      const auto &member = described->members[index];
      const Gradients &of = of_calls[index];
      if (wanted[index].input && of.input.defined()) {
        Tensor &input = results[member.input];
        input = input.defined() ? input.add(of.input) : of.input;
      }
      results[member.weights] = as(of.depthwise, member.depthwise_type);
      results[member.weights + 1] = as(of.pointwise, member.pointwise_type);
      if (member.affine) {
        results[member.weights + 2] = of.norm_weight;
        results[member.weights + 3] = of.norm_bias;
      }
    }
    return results;
  }
};

static_assert(kMostCalls <= channelwise::kMostNorms);

// What the calls give, which are at most kMostCalls and all of one device and type.
variable_list on_gpu(const std::vector<Call> &calls) {
  variable_list tensors;
  const auto described = c10::make_intrusive<GpuCalls>(calls, tensors);
  return GpuSeparable::apply(at::TensorList(tensors), described);
}

} // namespace
} // namespace pdarts::separable
