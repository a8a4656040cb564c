// Forward pass of operation.cpp: each image goes through both convolutions in a core's own cache.
#pragma once
#include "plan.h"

namespace pdarts::separable {
namespace {

// Fills in the plan's statistics of `x` and, in training, moves the running ones.
template <typename S> void take_statistics(Plan &plan, const Tensor &x) {
  plan.num_values = channelwise::num_pixels(x);
  std::vector<channelwise::Moments> moments(1);
  if (plan.training) {
    moments[0] = channelwise::batch_moments<S>(x);
    if (plan.over_ranks) {
      plan.num_values = channelwise::combine_over_ranks(moments, plan.num_values);
    }
    TORCH_CHECK(plan.num_values > 1, "separable convolution: no variance in the input ", x.sizes(),
                ": training needs more than one value per channel");
  }
  plan.statistics = channelwise::settle<Compute<S>>(std::move(moments[0]), plan.num_values, plan.running_mean,
                                                    plan.running_var, plan.training);
}

template <typename S>
Tensor forward(Plan &plan, const Tensor &x, const Tensor &depthwise_weight, const Tensor &pointwise_weight,
               const Tensor &norm_weight, const Tensor &norm_bias) {
  using T = Compute<S>;
  if (plan.normalised()) {
    take_statistics<S>(plan, x);
  }
  const auto &s = plan.shape;
  Tensor y = depthwise::new_activations(x, plan.groups * plan.outputs, s.out_height, s.out_width);
  const Affine<S> affine(plan, norm_weight, norm_bias);
  const Depthwise<S> depthwise(plan, depthwise_weight, affine.of(x));
  const auto weights = pack<T>(plan, pointwise_weight, /*way_back=*/false);
  const int64_t group_size = plan.inputs() * round_up(plan.outputs, kernels<S>().lanes);
  const auto to = channelwise::mutable_pixels_of<S>(y);
  at::parallel_for(0, s.images, 1, [&](int64_t begin, int64_t end) {
    const Buffer<T> scratch(depthwise.scratch_size());
    const Middle<T> middle(plan);
    for (int64_t image = begin; image < end; ++image) {
      depthwise.forward(image, middle, scratch.data());
      for (int64_t group = 0; group < plan.groups; ++group) {
        kernels<S>().multiply({plan.out_pixels(), plan.inputs(), plan.outputs, middle.group(group * plan.inputs()),
                               weights.data() + group * group_size,
                               {to.data + image * plan.out_pixels() * to.step + group * plan.outputs, to.step}});
      }
    }
  });
  return y;
}

} // namespace
} // namespace pdarts::separable
