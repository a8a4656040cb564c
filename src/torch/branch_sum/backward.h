// Backward pass of operation.cpp: sums over the batch for all branches, then one pass that writes the gradients of all inputs.
#pragma once
#include "forward.h"

namespace pdarts::branch_sum {
namespace {

// Sums over the batch for each channel, of a branch's gradient and of its product with y - mean; empty where not needed.
struct GradientSums {
  std::vector<double> gradient, product;
};

template <typename S>
std::vector<GradientSums> gradient_sums(const Plan &plan, TensorList tensors, const Tensor &gradient,
                                        const std::vector<Wanted> &wanted) {
  using T = Compute<S>;
  const Groups groups(plan, gradient);
  const int64_t channels = gradient.size(1);
  std::vector<GradientSums> sums(plan.branches.size());
  std::vector<std::vector<T>> means;
  std::vector<Centred<S>> factors;
  std::vector<size_t> of_factors; // the branches that they are of
  for (size_t index = 0; index < plan.branches.size(); ++index) {
    const Branch &branch = plan.branches[index];
    means.emplace_back(plan.statistics[index].mean.begin(), plan.statistics[index].mean.end());
    if (wanted[index].affine || (wanted[index].y && plan.depends_on_batch(branch))) {
      factors.push_back({pixels_of<S>(tensors[branch.y]), means[index].data()});
      of_factors.push_back(index);
      sums[index] = {std::vector<double>(channels), std::vector<double>(channels)};
    }
  }
  if (factors.empty()) {
    return sums;
  }
  const int64_t num_rows = 1 + int64_t(factors.size());
  std::vector<T> shares(groups.count * groups.chunks() * num_rows * channels);
  groups.for_each_step([&](int64_t, int64_t chunk, Range range) {
    kernels<S>().products(pixels_of<S>(gradient), factors.data(), factors.size(), channels, range,
                          shares.data() + chunk * num_rows * channels);
  });
  for (size_t factor = 0; factor < factors.size(); ++factor) {
    auto &[of_gradient, product] = sums[of_factors[factor]];
    const std::vector<double> masks = masks_of(plan.branches[of_factors[factor]], tensors, groups);
    for (int64_t chunk = 0; chunk < groups.count * groups.chunks(); ++chunk) {
      const T *share = shares.data() + chunk * num_rows * channels, *products = share + (1 + factor) * channels;
      const double mask = masks[chunk / groups.chunks()];
      for (int64_t channel = 0; channel < channels; ++channel) {
        of_gradient[channel] += mask * share[channel];
        product[channel] += mask * products[channel];
      }
    }
  }
  return sums;
}

// Makes the sums that gradients of activations depend on those of all ranks.
void sum_over_ranks(const Plan &plan, std::vector<GradientSums> &sums, const std::vector<Wanted> &wanted) {
  std::vector<double> all;
  const auto for_each_shared = [&](const auto &visit) {
    for (size_t index = 0; index < sums.size(); ++index) {
      if (wanted[index].y && plan.depends_on_batch(plan.branches[index])) {
        visit(sums[index].gradient);
        visit(sums[index].product);
      }
    }
  };
  for_each_shared([&](const std::vector<double> &values) { all.insert(all.end(), values.begin(), values.end()); });
  if (all.empty()) {
    return;
  }
  sync_batch_norm::sum_over_ranks(all);
  auto from = all.begin();
  for_each_shared([&](std::vector<double> &values) {
    std::copy_n(from, values.size(), values.begin());
    from += values.size();
  });
}

// Of weight and bias: this rank's share, of its own sums.
template <typename S> std::pair<Tensor, Tensor> affine_gradients(const Statistics &statistics, const GradientSums &sums,
                                                                 const Tensor &weight) {
  using T = Compute<S>;
  const Tensor of_weight = at::empty_like(weight), of_bias = at::empty_like(weight);
  for (size_t channel = 0; channel < sums.product.size(); ++channel) {
    of_weight.mutable_data_ptr<T>()[channel] = sums.product[channel] * statistics.inverse_deviation[channel];
    of_bias.mutable_data_ptr<T>()[channel] = sums.gradient[channel];
  }
  return {of_weight, of_bias};
}

// The gradients of the branches, undefined where not wanted.
//
// With a = weight / deviation, that of y is the combination
// a * (mask * G - mean(mask * G)) - a * (y - mean) / deviation^2 * mean(mask * G * (y - mean)).
template <typename S>
std::vector<Tensor> branch_gradients(const Plan &plan, TensorList tensors, const Tensor &gradient,
                                     const std::vector<GradientSums> &sums, const std::vector<Wanted> &wanted) {
  using T = Compute<S>;
  const Groups groups(plan, gradient);
  const int64_t channels = gradient.size(1);
  const std::vector<Affine> affines = affines_of<S>(plan, tensors);
  std::vector<Tensor> results(plan.branches.size());
  std::vector<Combinations<S>> all;
  for (size_t index = 0; index < plan.branches.size(); ++index) {
    const Branch &branch = plan.branches[index];
    if (!wanted[index].y) {
      continue;
    }
    if (!branch.normalised() && !branch.masked) {
      results[index] = gradient;
      continue;
    }
    results[index] = new_activations(gradient, channels);
    std::vector<double> curvature(channels);
    std::vector<T> shift(channels);
    if (plan.depends_on_batch(branch)) {
      const auto &[mean, inverse] = plan.statistics[index];
      for (int64_t channel = 0; channel < channels; ++channel) {
        const double factor = affines[index].scale[channel] / plan.num_values;
        curvature[channel] = -factor * inverse[channel] * inverse[channel] * sums[index].product[channel];
        shift[channel] = -factor * sums[index].gradient[channel] - curvature[channel] * mean[channel];
      }
    }
    const std::vector<double> masks = masks_of(branch, tensors, groups);
    Combinations<S> &of_branch = all.emplace_back();
    for (int64_t group = 0; group < groups.count; ++group) {
      of_branch.combinations.push_back({mutable_pixels_of<S>(results[index]), false, shift});
      of_branch.add(group, pixels_of<S>(gradient), masks[group], affines[index].scale);
      if (plan.depends_on_batch(branch)) {
        of_branch.add(group, pixels_of<S>(tensors[branch.y]), 1, curvature);
      }
    }
  }
  groups.for_each_step([&](int64_t group, int64_t, Range range) {
    for (const Combinations<S> &of_branch : all) {
      of_branch.run(group, channels, range);
    }
  });
  return results;
}

} // namespace
} // namespace pdarts::branch_sum
