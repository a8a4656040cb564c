// BatchNorm's statistics: of a batch, of the batches of all ranks, and the running ones.
#pragma once
#include "../sync_batch_norm/reduction.h"
#include "batch_norm.h"
#include "pixels.h"

namespace pdarts::channelwise {
namespace {

// What a tensor is normalised by; 0 and 1 where it is not.
struct Statistics {
  std::vector<double> mean, inverse_deviation; // [channels]
};

// Of each channel.
struct Moments {
  std::vector<double> mean, variance;
};

// Mean and variance of each channel of `y` as its sums over chunks give them. A chunk's sums are taken around its first
// pixel, so that they keep their digits where the mean is large beside the deviation.
template <typename T> Moments batch_moments(const Tensor &y) {
  const int64_t channels = y.size(1), pixels = num_pixels(y), chunks = num_chunks(pixels);
  const auto values = pixels_of<T>(y);
  std::vector<Compute<T>> origins(chunks * channels), sums(chunks * 2 * channels);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const T *first = values.data + chunk * kChunkPixels * values.step;
    std::transform(first, first + channels, origins.data() + chunk * channels, widened<T>);
  }
  for_each_step(pixels, [&](int64_t chunk, Range range) {
    kernels<T>().moments({values, origins.data() + chunk * channels}, channels, range,
                         sums.data() + chunk * 2 * channels);
  });
  std::vector<double> mean(channels), variance(channels);
  const auto for_each_chunk = [&](const auto &visit) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const double count = std::min(kChunkPixels, pixels - chunk * kChunkPixels);
      const auto *sum = sums.data() + chunk * 2 * channels, *first = origins.data() + chunk * channels;
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

// What to normalise by: in training the moments of a batch of `num_values` values a channel, which also move the running
// ones, else the running ones.
template <typename T>
Statistics settle(Moments moments, double num_values, const Tensor &running_mean, const Tensor &running_var,
                  bool training) {
  auto &[mean, variance] = moments;
  if (training) {
    move_running<T>(running_mean, mean, 1);
    move_running<T>(running_var, variance, num_values / (num_values - 1));
  } else {
    mean = values_of<T>(running_mean);
    variance = values_of<T>(running_var);
  }
  for (double &value : variance) {
    value = 1 / std::sqrt(value + kEpsilon);
  }
  return {std::move(mean), std::move(variance)};
}

// Fills in the statistics of a plan's branches, whose outputs are `ys`, and, in training, moves the running ones.
template <typename S, typename Plan> void take_statistics(const char *name, Plan &plan, at::TensorList ys) {
  std::vector<Moments> moments;
  bool any = false;
  for (size_t index = 0; index < ys.size(); ++index) {
    const bool depends_on_batch = plan.training && plan.branches[index].normalised();
    moments.push_back(depends_on_batch ? batch_moments<S>(ys[index]) : Moments());
    any = any || depends_on_batch;
  }
  plan.num_values = num_pixels(ys[0]);
  if (plan.over_ranks) {
    plan.num_values = combine_over_ranks(moments, plan.num_values);
  }
  TORCH_CHECK(!any || plan.num_values > 1, name, ": no variance: training needs more than one value per channel");
  for (size_t index = 0; index < ys.size(); ++index) {
    const auto &branch = plan.branches[index];
    const size_t channels = ys[index].size(1);
    plan.statistics.push_back(branch.normalised()
                                  ? settle<Compute<S>>(std::move(moments[index]), plan.num_values, branch.running_mean,
                                                       branch.running_var, plan.training)
                                  : Statistics{std::vector<double>(channels, 0), std::vector<double>(channels, 1)});
  }
}

} // namespace
} // namespace pdarts::channelwise
