// Forward pass of operation.cpp: statistics of each operation's output, then one pass that adds all of them to the nodes.
#pragma once
#include "../batch_norm.h"
#include "../sync_batch_norm/reduction.h"
#include "plan.h"

namespace pdarts::mix {
namespace {

struct Moments {
  std::vector<double> mean, variance;
};

// Mean and variance of each channel of `y` as its sums over chunks give them. A chunk's sums are taken around its first
// pixel, so that they keep their digits where the mean is large beside the deviation.
template <typename T> Moments batch_moments(const Tensor &y) {
  const int64_t channels = y.size(1), pixels = num_pixels(y), chunks = num_chunks(pixels);
  const auto values = pixels_of<T>(y);
  const auto origin = [&](int64_t chunk) { return values.data + chunk * kChunkPixels * values.step; };
  std::vector<T> sums(chunks * 2 * channels);
  for_each_step(pixels, [&](int64_t chunk, Range range) {
    kernels<T>().moments({values, origin(chunk)}, channels, range, sums.data() + chunk * 2 * channels);
  });
  std::vector<double> mean(channels), variance(channels);
  const auto for_each_chunk = [&](const auto &visit) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const double count = std::min(kChunkPixels, pixels - chunk * kChunkPixels);
      const T *sum = sums.data() + chunk * 2 * channels, *first = origin(chunk);
      for (int64_t channel = 0; channel < channels; ++channel) {
        visit(channel, count, double(first[channel]), double(sum[channel]), double(sum[channels + channel]));
      }
    }
  };
  for_each_chunk([&](int64_t channel, double count, double first, double sum, double) {
    mean[channel] += (count * first + sum) / pixels;
  });
  for_each_chunk([&](int64_t channel, double count, double first, double sum, double squares) {
    const double distance = first + sum / count - mean[channel];
    variance[channel] += (squares - sum * sum / count + count * distance * distance) / pixels;
  });
  return {mean, variance};
}

template <typename T> void move_running(const Tensor &running, const std::vector<double> &values, double factor) {
  T *data = running.mutable_data_ptr<T>();
  for (size_t channel = 0; channel < values.size(); ++channel) {
    data[channel] = (1 - kMomentum) * data[channel] + kMomentum * factor * values[channel];
  }
}

template <typename T> std::vector<double> values_of(const Tensor &tensor) {
  const T *data = tensor.const_data_ptr<T>();
  return {data, data + tensor.numel()};
}

// Turns moments of `num_values` values a channel into those of all ranks' values; returns how many these are.
double combine_over_ranks(std::vector<Moments> &moments, double num_values) {
  std::vector<double> sums{num_values};
  for (const auto &[mean, variance] : moments) {
    for (size_t channel = 0; channel < mean.size(); ++channel) {
      sums.push_back(num_values * mean[channel]);
      sums.push_back(num_values * (variance[channel] + mean[channel] * mean[channel]));
    }
  }
  sync_batch_norm::sum_over_ranks(sums);
  const double total = sums[0];
  const double *sum = sums.data();
  for (auto &[mean, variance] : moments) {
    for (size_t channel = 0; channel < mean.size(); ++channel) {
      mean[channel] = *++sum / total;
      variance[channel] = std::max(*++sum / total - mean[channel] * mean[channel], 0.0);
    }
  }
  return total;
}

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
    auto &[mean, variance] = moments[index];
    if (!branch.normalised()) {
      const size_t channels = ys[index].size(1);
      plan.statistics.push_back({std::vector<double>(channels, 0), std::vector<double>(channels, 1)});
      continue;
    }
    if (plan.training) {
      move_running<T>(branch.running_mean, mean, 1);
      move_running<T>(branch.running_var, variance, plan.num_values / (plan.num_values - 1));
    } else {
      mean = values_of<T>(branch.running_mean);
      variance = values_of<T>(branch.running_var);
    }
    for (double &value : variance) {
      value = 1 / std::sqrt(value + kEpsilon);
    }
    plan.statistics.push_back({mean, variance});
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
