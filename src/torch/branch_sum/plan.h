// What the passes of operation.cpp share: the description of a call.
#pragma once
#include "../channelwise/statistics.h"
#include "../shim.h"

#include <vector>

namespace pdarts::branch_sum {
namespace {

using namespace channelwise;
using at::TensorList;
using torch::Tensor;
using torch::autograd::AutogradContext;

// A branch and where it stands in the list of differentiable inputs: y, weight and bias if it has them, its mask if it has one.
struct Branch {
  size_t y;
  bool affine, masked;
  Tensor running_mean, running_var; // both undefined for a branch that is not normalised

  bool normalised() const { return running_mean.defined(); }
  size_t weight() const { return y + 1; }
  size_t bias() const { return y + 2; }
  size_t mask() const { return y + (affine ? 3 : 1); }
  size_t end() const { return mask() + (masked ? 1 : 0); }
};

// A call without its differentiable inputs.
struct Plan : torch::CustomClassHolder {
  bool training = false;
  bool over_ranks = false; // whether statistics are those of all ranks' images
  std::vector<Branch> branches;
  std::vector<Statistics> statistics; // of each branch
  double num_values = 0;              // for each channel, that the statistics are of

  size_t num_inputs() const { return branches.back().end(); }
  bool depends_on_batch(const Branch &branch) const { return training && branch.normalised(); }
};

// What backward computes of a branch.
struct Wanted {
  bool y, affine;

  Wanted(const AutogradContext &context, const Branch &branch)
      : y(context.needs_input_grad(branch.y)),
        affine(branch.affine && (context.needs_input_grad(branch.weight()) || context.needs_input_grad(branch.bias()))) {}
};

// What is kept for backward: of a branch that is not normalised only the mask.
torch::autograd::variable_list kept(const Plan &plan, torch::autograd::variable_list tensors) {
  for (const Branch &branch : plan.branches) {
    if (!branch.normalised()) {
      tensors[branch.y] = Tensor();
    }
  }
  return tensors;
}

} // namespace
} // namespace pdarts::branch_sum
