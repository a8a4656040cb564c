// Backward pass of operation.cpp: sums over the batch for all edges, then one pass that writes the gradients of all inputs.
#pragma once
#include "forward.h"

namespace pdarts::mix {
namespace {

// Sums over the batch for each channel.
struct GradientSums {
  std::vector<double> gradients; // of a node's gradient: [nodes, C]
  std::vector<double> products;  // of its product with y - mean: [E, C]
};

// `gradients`: of the nodes' sums, undefined where zero. Leaves out what the wanted gradients do not need.
template <typename S>
GradientSums gradient_sums(const Plan &plan, TensorList ys, TensorList gradients, bool want_weights,
                           const std::vector<bool> &want_branch) {
  using T = Compute<S>;
  const int64_t channels = plan.channels;
  std::vector<std::vector<T>> means;
  for (const Statistics &statistics : plan.statistics) {
    means.emplace_back(statistics.mean.begin(), statistics.mean.end());
  }
  // The rows of a chunk's sums: each node's gradient, followed by the products of its edges.
  struct Rows {
    int64_t node, first;
    std::vector<int64_t> edges;
    std::vector<Centred<S>> factors;
  };
  std::vector<Rows> all;
  int64_t num_rows = 0, pixels = 0;
  for (int64_t node = 0; node < plan.num_nodes(); ++node) {
    if (!gradients[node].defined()) {
      continue;
    }
    Rows rows{node, num_rows, {}, {}};
    for (int64_t index = 0; index < plan.num_edges(); ++index) {
      const Edge &edge = plan.edges[index];
      const bool wanted = want_weights || (want_branch[edge.branch] && plan.depends_on_batch(edge.branch));
      if (edge.node == node && wanted) {
        rows.edges.push_back(index);
        rows.factors.push_back({pixels_of<S>(ys[edge.branch], edge.first_channel),
                                means[edge.branch].data() + edge.first_channel});
      }
    }
    if (!rows.edges.empty()) {
      num_rows += 1 + rows.edges.size();
      all.push_back(std::move(rows));
      pixels = num_pixels(gradients[node]);
    }
  }
  std::vector<T> shares(num_chunks(pixels) * num_rows * channels);
  for_each_step(pixels, [&](int64_t chunk, Range range) {
    for (const Rows &rows : all) {
      T *sums = shares.data() + (chunk * num_rows + rows.first) * channels;
      kernels<S>().wide_products(pixels_of<T>(gradients[rows.node]), rows.factors.data(), rows.factors.size(), channels,
                                 range, sums);
    }
  });
  std::vector<double> totals(num_rows * channels);
  for (size_t position = 0; position < shares.size();) {
    for (double &total : totals) {
      total += shares[position++];
    }
  }
  GradientSums result{std::vector<double>(plan.num_nodes() * channels),
                      std::vector<double>(plan.num_edges() * channels)};
  for (const Rows &rows : all) {
    const double *row = totals.data() + rows.first * channels;
    std::copy_n(row, channels, result.gradients.data() + rows.node * channels);
    for (const int64_t edge : rows.edges) {
      row += channels;
      std::copy_n(row, channels, result.products.data() + edge * channels);
    }
  }
  return result;
}

// Makes the sums those of all ranks' gradients, if the gradient of a branch depends on them. The gradient of the weights
// is this rank's share, of its own sums.
void sum_over_ranks(const Plan &plan, GradientSums &sums, const std::vector<bool> &want_branch) {
  bool is_needed = false;
  for (int64_t index = 0; index < plan.num_branches(); ++index) {
    is_needed = is_needed || (want_branch[index] && plan.depends_on_batch(index));
  }
  if (is_needed) {
    std::vector<double> all = sums.gradients;
    all.insert(all.end(), sums.products.begin(), sums.products.end());
    sync_batch_norm::sum_over_ranks(all);
    const auto products = all.begin() + sums.gradients.size();
    std::copy(all.begin(), products, sums.gradients.begin());
    std::copy(products, all.end(), sums.products.begin());
  }
}

template <typename T> Tensor weights_gradient(const Plan &plan, const Tensor &weights, const GradientSums &sums) {
  Tensor gradient = at::empty_like(weights);
  T *values = gradient.mutable_data_ptr<T>();
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    const double *inverse = plan.statistics[edge.branch].inverse_deviation.data() + edge.first_channel;
    double total = 0;
    for (int64_t channel = 0; channel < plan.channels; ++channel) {
      total += sums.products[index * plan.channels + channel] * inverse[channel];
    }
    values[index] = total;
  }
  return gradient;
}

// The gradients of `ys` where `wanted`.
//
// With the edges' scales a = weight / deviation, BatchNorm's gradient is the combination
// sum of a * (G - mean(G)) over the edges of a block - (y - mean) / deviation^2 * mean of sum of a * G * (y - mean).
template <typename S>
std::vector<Tensor> input_gradients(const Plan &plan, TensorList ys, const Tensor &weights, TensorList gradients,
                                    const GradientSums &sums, const std::vector<bool> &wanted) {
  using T = Compute<S>;
  const int64_t channels = plan.channels;
  const std::vector<T> scales = scales_of<T>(plan, weights);
  // One combination for each block of channels; their curvatures are the factors of `y`.
  struct Block {
    int64_t branch, first_channel;
    std::vector<int64_t> edges;
  };
  std::vector<Block> blocks;
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    if (!wanted[edge.branch]) {
      continue;
    }
    if (blocks.empty() || blocks.back().branch != edge.branch || plan.branches[edge.branch].per_edge) {
      blocks.push_back({edge.branch, edge.first_channel, {}});
    }
    blocks.back().edges.push_back(index);
  }
  std::vector<Tensor> results(ys.size());
  std::vector<T> curvatures(blocks.size() * channels);
  std::vector<OwnedCombination<S>> combinations;
  for (size_t position = 0; position < blocks.size(); ++position) {
    const Block &block = blocks[position];
    const Tensor &y = ys[block.branch];
    Tensor &result = results[block.branch];
    if (!result.defined()) {
      result = new_activations(y, y.size(1));
    }
    OwnedCombination<S> combination{mutable_pixels_of<S>(result, block.first_channel), false, std::vector<T>(channels)};
    for (const int64_t index : block.edges) {
      const Tensor &gradient = gradients[plan.edges[index].node];
      if (gradient.defined()) {
        combination.wide_terms.push_back({pixels_of<T>(gradient), scales.data() + index * channels});
      }
    }
    if (plan.depends_on_batch(block.branch) && !combination.wide_terms.empty()) {
      const Statistics &statistics = plan.statistics[block.branch];
      T *curvature = curvatures.data() + position * channels;
      for (int64_t channel = 0; channel < channels; ++channel) {
        double sum = 0, product = 0;
        for (const int64_t index : block.edges) {
          const double scale = scales[index * channels + channel];
          sum += scale * sums.gradients[plan.edges[index].node * channels + channel];
          product += scale * sums.products[index * channels + channel];
        }
        const double inverse = statistics.inverse_deviation[block.first_channel + channel];
        curvature[channel] = -inverse * inverse * product / plan.num_values;
        combination.shift[channel] =
            -sum / plan.num_values - curvature[channel] * statistics.mean[block.first_channel + channel];
      }
      combination.terms.push_back({pixels_of<S>(y, block.first_channel), curvature});
    }
    combinations.push_back(std::move(combination));
  }
  if (!combinations.empty()) {
    combine(combinations, channels, num_pixels(ys[0]));
  }
  return results;
}

} // namespace
} // namespace pdarts::mix
