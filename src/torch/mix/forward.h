// Forward pass of operation.cpp: statistics of each operation's output, then one pass that adds all of them to the nodes.
#pragma once
#include "plan.h"

namespace pdarts::mix {
namespace {

// Fills in the plan's statistics and, in training, moves the running ones.
template <typename T> void take_statistics(Plan &plan, TensorList ys) {
  std::vector<Moments> moments;
  for (int64_t index = 0; index < plan.num_branches(); ++index) {
    moments.push_back(plan.depends_on_batch(index) ? batch_moments<T>(ys[index]) : Moments());
  }
  plan.num_values = num_pixels(ys[0]);
  if (plan.over_ranks) {
    plan.num_values = combine_over_ranks(moments, plan.num_values);
    TORCH_CHECK(plan.num_values > 1, "mix: no variance: training needs more than one value per channel");
  }
  for (int64_t index = 0; index < plan.num_branches(); ++index) {
    const Branch &branch = plan.branches[index];
    if (!branch.normalised()) {
      const size_t channels = ys[index].size(1);
      plan.statistics.push_back({std::vector<double>(channels, 0), std::vector<double>(channels, 1)});
      continue;
    }
    plan.statistics.push_back(settle<T>(std::move(moments[index]), plan.num_values, branch.running_mean,
                                        branch.running_var, plan.training));
  }
}

// weight / deviation for each edge: [E, C].
template <typename T> std::vector<T> scales_of(const Plan &plan, const Tensor &weights) {
  const int64_t channels = plan.channels;
  const T *weight = weights.const_data_ptr<T>();
  std::vector<T> scales(plan.num_edges() * channels);
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    const double *inverse = plan.statistics[edge.branch].inverse_deviation.data() + edge.first_channel;
    for (int64_t channel = 0; channel < channels; ++channel) {
      scales[index * channels + channel] = weight[index] * inverse[channel];
    }
  }
  return scales;
}

// Adds the operations to `sums`, one for each of the plan's nodes.
template <typename T> void add_to_sums(const Plan &plan, TensorList ys, const Tensor &weights, TensorList sums) {
  const int64_t channels = plan.channels;
  const std::vector<T> scales = scales_of<T>(plan, weights);
  std::vector<OwnedCombination<T>> combinations;
  std::vector<double> shifts(plan.num_nodes() * channels);
  for (int64_t node = 0; node < plan.num_nodes(); ++node) {
    combinations.push_back({mutable_pixels_of<T>(sums[node]), !plan.is_new[node], {}, {}});
  }
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    const T *scale = scales.data() + index * channels;
    const double *mean = plan.statistics[edge.branch].mean.data() + edge.first_channel;
    combinations[edge.node].terms.push_back({pixels_of<T>(ys[edge.branch], edge.first_channel), scale});
    for (int64_t channel = 0; channel < channels; ++channel) {
      shifts[edge.node * channels + channel] -= scale[channel] * mean[channel];
    }
  }
  for (int64_t node = 0; node < plan.num_nodes(); ++node) {
    const double *shift = shifts.data() + node * channels;
    combinations[node].shift.assign(shift, shift + channels);
  }
  combine(combinations, channels, num_pixels(sums[0]));
}

} // namespace
} // namespace pdarts::mix
