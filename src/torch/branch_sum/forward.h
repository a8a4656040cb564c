// Forward pass of operation.cpp: statistics of each branch, then one pass that adds all of them up.
#pragma once
#include "plan.h"

namespace pdarts::branch_sum {
namespace {

// Images whose branches are added up with the same factors: each by itself where there are masks, else all.
struct Groups {
  int64_t count, pixels; // pixels of a group

  Groups(const Plan &plan, const Tensor &like)
      : count(std::any_of(plan.branches.begin(), plan.branches.end(), [](const Branch &branch) { return branch.masked; })
                  ? like.size(0)
                  : 1),
        pixels(num_pixels(like) / count) {}

  int64_t chunks() const { return num_chunks(pixels); }

  // Calls `visit(group, chunk, range)` in steps.
  template <typename Visit> void for_each_step(const Visit &visit) const {
    channelwise::for_each_step(count, pixels, visit);
  }
};

// What each group's values of a branch are multiplied with.
std::vector<double> masks_of(const Branch &branch, TensorList tensors, const Groups &groups) {
  if (!branch.masked) {
    return std::vector<double>(groups.count, 1);
  }
  return values_of<double>(tensors[branch.mask()].to(at::kDouble).contiguous());
}

// What a branch's values are multiplied with and moved by: [channels].
struct Affine {
  std::vector<double> scale, shift;
};

template <typename S> std::vector<Affine> affines_of(const Plan &plan, TensorList tensors) {
  std::vector<Affine> affines;
  for (size_t index = 0; index < plan.branches.size(); ++index) {
    const Branch &branch = plan.branches[index];
    const auto &[mean, inverse] = plan.statistics[index];
    Affine affine{inverse, std::vector<double>(inverse.size())};
    for (size_t channel = 0; channel < inverse.size(); ++channel) {
      if (branch.affine) {
        affine.scale[channel] *= tensors[branch.weight()].const_data_ptr<Compute<S>>()[channel];
        affine.shift[channel] = tensors[branch.bias()].const_data_ptr<Compute<S>>()[channel];
      }
      affine.shift[channel] -= affine.scale[channel] * mean[channel];
    }
    affines.push_back(std::move(affine));
  }
  return affines;
}

// The combinations of all groups, with the factors of their terms.
template <typename S> struct Combinations {
  using T = Compute<S>;
  std::vector<OwnedCombination<S>> combinations; // of each group
  std::vector<std::vector<T>> factors;

  // `values` times `mask` times `scale`, if that is anything.
  void add(int64_t group, Pixels<const S> values, double mask, const std::vector<double> &scale) {
    if (mask != 0) {
      std::vector<T> products(scale.size());
      std::transform(scale.begin(), scale.end(), products.begin(), [mask](double value) { return T(mask * value); });
      factors.push_back(std::move(products));
      combinations[group].terms.push_back({values, factors.back().data()});
    }
  }

  void run(int64_t group, int64_t channels, Range range) const {
    combinations[group].run(channels, range);
  }
};

// `tensors`: the differentiable inputs, branches as pixels.
template <typename S> Tensor forward(Plan &plan, TensorList tensors) {
  std::vector<Tensor> ys;
  for (const Branch &branch : plan.branches) {
    ys.push_back(tensors[branch.y]);
  }
  take_statistics<S>("sum of branches", plan, ys);
  const Groups groups(plan, tensors[0]);
  const int64_t channels = tensors[0].size(1);
  const Tensor sum = new_activations(tensors[0], channels);
  const std::vector<Affine> affines = affines_of<S>(plan, tensors);
  Combinations<S> all;
  std::vector<std::vector<double>> masks;
  for (const Branch &branch : plan.branches) {
    masks.push_back(masks_of(branch, tensors, groups));
  }
  for (int64_t group = 0; group < groups.count; ++group) {
    std::vector<double> shift(channels);
    all.combinations.push_back({mutable_pixels_of<S>(sum), false, {}});
    for (size_t index = 0; index < plan.branches.size(); ++index) {
      const double mask = masks[index][group];
      all.add(group, pixels_of<S>(tensors[plan.branches[index].y]), mask, affines[index].scale);
      for (int64_t channel = 0; channel < channels; ++channel) {
        shift[channel] += mask * affines[index].shift[channel];
      }
    }
    all.combinations[group].shift.assign(shift.begin(), shift.end());
  }
  groups.for_each_step([&](int64_t group, int64_t, Range range) { all.run(group, channels, range); });
  return sum;
}

} // namespace
} // namespace pdarts::branch_sum
