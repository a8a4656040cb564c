// The operation on a GPU: as on the CPU, backward keeps the input and the weights alone, and what the input is normalised by.
#pragma once
#include <c10/core/DeviceGuard.h>

#include "../cuda/backend.h"
#include "backward.h"

namespace pdarts::separable {
namespace {

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

template <typename S> GpuNorm take_norm(const Plan &plan, const Tensor &x, const Tensor &weight, const Tensor &bias) {
  if (!plan.normalised()) {
    return {};
  }
  using T = Compute<S>;
  const int64_t channels = x.size(1);
  TORCH_CHECK(!plan.training || pixels_of(x) > 1, "separable convolution: no variance in an input ", x.sizes(),
              ": training needs more than one value per channel");
  const auto new_values = [&] { return at::empty({channels}, computed_options(x)); };
  const GpuNorm norm{new_values(), new_values(), new_values(), new_values()};
  const auto &kernels = cuda::table<S>().channelwise;
  const Tensor workspace = new_workspace(x, kernels.norm_workspace_bytes(pixels_of(x), int(channels)));
  const channelwise::CudaNorm<S> call{.pixels = pixels_of(x),
                                      .channels = int(channels),
                                      .x = const_data<S>(x),
                                      .weight = values_or_null<T>(weight),
                                      .bias = values_or_null<T>(bias),
                                      .running_mean = plan.running_mean.mutable_data_ptr<T>(),
                                      .running_var = plan.running_var.mutable_data_ptr<T>(),
                                      .training = plan.training,
                                      .scale = norm.scale.mutable_data_ptr<T>(),
                                      .shift = norm.shift.mutable_data_ptr<T>(),
                                      .mean = norm.mean.mutable_data_ptr<T>(),
                                      .inverse_deviation = norm.inverse_deviation.mutable_data_ptr<T>(),
                                      .workspace = workspace.mutable_data_ptr()};
  cuda::check(kernels.norm(call, cuda::current_stream(x)), "BatchNorm");
  return norm;
}

template <typename S>
Tensor gpu_forward(const Plan &plan, const Tensor &x, const Tensor &depthwise, const Tensor &pointwise,
                   const GpuNorm &norm) {
  using T = Compute<S>;
  const auto &s = plan.shape;
  const Tensor y = at::empty({s.images, plan.groups * plan.outputs, s.out_height, s.out_width}, x.options(),
                             at::MemoryFormat::ChannelsLast);
  if (y.numel() > 0) {
    const CudaForward<S> call{.shape = cuda_shape(plan),
                              .x = const_data<S>(x),
                              .scale = values_or_null<T>(norm.scale),
                              .shift = values_or_null<T>(norm.shift),
                              .depthwise = depthwise.const_data_ptr<T>(),
                              .pointwise = pointwise.const_data_ptr<T>(),
                              .y = mutable_data<S>(y)};
    cuda::check(cuda::table<S>().separable.forward(call, cuda::current_stream(x)), "separable convolution");
  }
  return y;
}

// Gradients of the input, both weights and both values of BatchNorm, undefined where not wanted; weights' in the type that is
// computed with.
template <typename S>
std::vector<Tensor> gpu_backward(const Plan &plan, const Wanted &wanted, const Tensor &x, const Tensor &depthwise,
                                 const Tensor &pointwise, const GpuNorm &norm, const Tensor &y_gradient) {
  using T = Compute<S>;
  const auto stream = cuda::current_stream(x);
  const int64_t channels = x.size(1);
  const auto &kernels = cuda::table<S>();
  const CudaShape shape = cuda_shape(plan);
  const auto like = [](bool is_wanted, const Tensor &tensor) { return is_wanted ? at::empty_like(tensor) : Tensor(); };
  const auto data = [](const Tensor &tensor) { return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr; };
  const Tensor input = wanted.normalised_input()
                           ? at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast)
                           : Tensor();
  const bool takes_sums = plan.normalised() && wanted.normalised_input();
  const Tensor sums = takes_sums ? at::empty({2, channels}, computed_options(x)) : Tensor();
  const Tensor of_depthwise = like(wanted.depthwise, depthwise), of_pointwise = like(wanted.pointwise, pointwise);
  if (x.numel() == 0) {
    for (const Tensor &sum : {of_depthwise, of_pointwise}) {
      sum.defined() ? sum.zero_() : sum;
    }
    const auto zeros = [&] { return wanted.norm ? at::zeros_like(norm.mean) : Tensor(); };
    return {wanted.input ? input : Tensor(), of_depthwise, of_pointwise, zeros(), zeros()};
  }
  const Tensor workspace = new_workspace(x, kernels.separable.backward_workspace_bytes(shape));
  const CudaBackward<S> call{.shape = shape,
                             .x = const_data<S>(x),
                             .scale = values_or_null<T>(norm.scale),
                             .shift = values_or_null<T>(norm.shift),
                             .depthwise = depthwise.const_data_ptr<T>(),
                             .pointwise = pointwise.const_data_ptr<T>(),
                             .y_gradient = const_data<S>(y_gradient),
                             .x_gradient = input.defined() ? mutable_data<S>(input) : nullptr,
                             .depthwise_gradient = data(of_depthwise),
                             .pointwise_gradient = data(of_pointwise),
                             .mean = values_or_null<T>(norm.mean),
                             .norm_sums = data(sums),
                             .workspace = workspace.mutable_data_ptr()};
  cuda::check(kernels.separable.backward(call, stream), "separable convolution, backward");
  const Tensor of_norm_weight = like(wanted.norm, norm.mean), of_norm_bias = like(wanted.norm, norm.mean);
  if (takes_sums) {
    const channelwise::CudaNormGradient<S> through{.pixels = pixels_of(x),
                                                   .channels = int(channels),
                                                   .training = plan.training,
                                                   .x = const_data<S>(x),
                                                   .scale = norm.scale.const_data_ptr<T>(),
                                                   .mean = norm.mean.const_data_ptr<T>(),
                                                   .inverse_deviation = norm.inverse_deviation.const_data_ptr<T>(),
                                                   .sums = sums.const_data_ptr<T>(),
                                                   .weight_gradient = data(of_norm_weight),
                                                   .bias_gradient = data(of_norm_bias),
                                                   .gradient = wanted.input ? mutable_data<S>(input) : nullptr};
    cuda::check(kernels.channelwise.norm_gradient(through, stream), "BatchNorm, backward");
  }
  return {wanted.input ? input : Tensor(), of_depthwise, of_pointwise, of_norm_weight, of_norm_bias};
}

// Its differentiable inputs are those of `Separable`.
class GpuSeparable : public torch::autograd::Function<GpuSeparable> {
public:
  static Tensor forward(torch::autograd::AutogradContext *context, at::TensorList tensors,
                        c10::intrusive_ptr<Plan> plan) {
    const c10::DeviceGuard guard(tensors[0].device());
    const Tensor x = dense(tensors[0]);
    const auto type = computed_options(x).dtype();
    const Tensor depthwise = tensors[1].to(type).contiguous(), pointwise = tensors[2].to(type).contiguous();
    const bool affine = tensors.size() > 3;
    GpuNorm norm;
    const Tensor y = with_storage_type(x.scalar_type(), [&]<typename S>() {
      norm = take_norm<S>(*plan, x, affine ? tensors[3] : Tensor(), affine ? tensors[4] : Tensor());
      return gpu_forward<S>(*plan, x, depthwise, pointwise, norm);
    });
    context->save_for_backward({x, depthwise, pointwise, norm.scale, norm.shift, norm.mean, norm.inverse_deviation});
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    context->saved_data["depthwise_type"] = tensors[1].scalar_type();
    context->saved_data["pointwise_type"] = tensors[2].scalar_type();
    context->saved_data["affine"] = affine;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "separable convolution: its gradient cannot be differentiated; call backward without create_graph");
    const auto plan = c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    const auto saved = context->get_saved_variables();
    const c10::DeviceGuard guard(saved[0].device());
    const bool affine = context->saved_data["affine"].toBool();
    const Wanted wanted{context->needs_input_grad(0), context->needs_input_grad(1), context->needs_input_grad(2),
                        affine && (context->needs_input_grad(3) || context->needs_input_grad(4))};
    const GpuNorm norm{saved[3], saved[4], saved[5], saved[6]};
    auto results = with_storage_type(saved[0].scalar_type(), [&]<typename S>() {
      return gpu_backward<S>(*plan, wanted, saved[0], saved[1], saved[2], norm, dense(gradients[0]));
    });
    const auto as = [&](Tensor &gradient, const char *type) {
      gradient = gradient.defined() ? gradient.to(context->saved_data[type].toScalarType()) : gradient;
    };
    as(results[1], "depthwise_type");
    as(results[2], "pointwise_type");
    results.resize(affine ? 5 : 3);
    results.emplace_back(); // the plan's
    return results;
  }
};

} // namespace
} // namespace pdarts::separable
