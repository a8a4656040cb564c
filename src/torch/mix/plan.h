// What the passes of operation.cpp share: the description of a call.
#pragma once
#include "../channelwise/statistics.h"
#include "../shim.h"

#include <vector>

namespace pdarts::mix {
namespace {

using namespace channelwise;
using at::TensorList;
using torch::Tensor;

// One operation on its edges. Its output `y` is [N, E * C, H, W] with a block of channels for each edge, or
// [N, C, H, W] for all of them.
struct Branch {
  bool per_edge;
  // Both undefined for an operation that is not normalised.
  Tensor running_mean, running_var;

  bool normalised() const { return running_mean.defined(); }
};

struct Edge {
  int64_t branch;
  int64_t first_channel; // of its block of `y`
  int64_t node;          // position in Plan::nodes
};

// A call without its differentiable inputs.
struct Plan : torch::CustomClassHolder {
  bool training;
  bool over_ranks = false; // whether statistics are those of all ranks' images
  int64_t channels;        // C
  std::vector<Branch> branches;
  std::vector<Edge> edges;    // in the order of the weights
  std::vector<int64_t> nodes; // those that an edge leads to
  std::vector<bool> is_new;   // whether the sum of a node begins with this call
  std::vector<Statistics> statistics;
  double num_values; // for each channel, that the statistics are of

  int64_t num_edges() const { return edges.size(); }
  int64_t num_nodes() const { return nodes.size(); }
  int64_t num_branches() const { return branches.size(); }
  bool depends_on_batch(int64_t branch) const { return training && branches[branch].normalised(); }
};

// A call's differentiable inputs stand in one list: the sums that go on, the weights, the operations' outputs.
struct Inputs {
  size_t num_sums, num_branches;

  explicit Inputs(const Plan &plan)
      : num_sums(std::count(plan.is_new.begin(), plan.is_new.end(), false)), num_branches(plan.branches.size()) {}

  size_t weights() const { return num_sums; }
  size_t branch(size_t index) const { return num_sums + 1 + index; }
  size_t size() const { return branch(num_branches); }

  // Of which branches backward wants the gradient.
  std::vector<bool> wanted_branches(torch::autograd::AutogradContext &context) const {
    std::vector<bool> wanted;
    for (size_t index = 0; index < num_branches; ++index) {
      wanted.push_back(context.needs_input_grad(branch(index)));
    }
    return wanted;
  }
};

} // namespace
} // namespace pdarts::mix
