// Forward pass of operation.cpp after the statistics: one pass that adds all operations' outputs to the nodes.
#pragma once
#include "plan.h"

namespace pdarts::mix {
namespace {

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
template <typename S> void add_to_sums(const Plan &plan, TensorList ys, const Tensor &weights, TensorList sums) {
  using T = Compute<S>;
  const int64_t channels = plan.channels;
  const std::vector<T> scales = scales_of<T>(plan, weights);
  std::vector<OwnedCombination<S, T>> combinations;
  std::vector<double> shifts(plan.num_nodes() * channels);
  for (int64_t node = 0; node < plan.num_nodes(); ++node) {
    combinations.push_back({mutable_pixels_of<T>(sums[node]), !plan.is_new[node], {}});
  }
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    const T *scale = scales.data() + index * channels;
    const double *mean = plan.statistics[edge.branch].mean.data() + edge.first_channel;
    combinations[edge.node].terms.push_back({pixels_of<S>(ys[edge.branch], edge.first_channel), scale});
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
