// What the passes of operation.cpp share: the description of a call.
#pragma once
#include "../autograd_function.h"
#include "../channelwise/statistics.h"
#include "../shim.h"

#include <vector>

namespace pdarts::mix {
namespace {

using namespace channelwise;
using at::TensorList;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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
  std::vector<bool> wanted_branches(AutogradContext &context) const {
    std::vector<bool> wanted;
    for (size_t index = 0; index < num_branches; ++index) {
      wanted.push_back(context.needs_input_grad(branch(index)));
    }
    return wanted;
  }
};

// A sum for each of the plan's nodes: those among `tensors` that go on, and new ones beside the outputs `y`.
variable_list begin_sums(const Plan &plan, TensorList tensors, const Tensor &y, at::ScalarType type) {
  variable_list sums;
  auto existing = tensors.begin();
  for (const bool is_new : plan.is_new) {
    sums.push_back(is_new ? new_activations(y, plan.channels, type) : *existing++);
  }
  return sums;
}

// Keeps what backward needs of a call that has added to its sums in place, which gives it the gradients of all nodes at once,
// undefined where zero.
void keep_for_backward(AutogradContext &context, TensorList tensors, c10::intrusive_ptr<Plan> plan, variable_list saved) {
  context.mark_dirty(tensors.slice(0, Inputs(*plan).num_sums).vec());
  context.save_for_backward(std::move(saved));
  save_object(context, "plan", std::move(plan));
  context.set_materialize_grads(false);
}

// The results of backward with the gradients of the sums that go on, which pass untouched. `gradients` get the layout that
// kernels read, so that earlier calls on the same nodes need not copy them again.
template <typename Layout>
variable_list begin_results(const Plan &plan, variable_list &gradients, const Layout &layout) {
  variable_list results(Inputs(plan).size() + 1); // and the plan's, undefined
  auto existing = results.begin();
  for (int64_t node = 0; node < plan.num_nodes(); ++node) {
    gradients[node] = gradients[node].defined() ? layout(gradients[node]) : Tensor();
    if (!plan.is_new[node]) {
      *existing++ = gradients[node];
    }
  }
  return results;
}

} // namespace
} // namespace pdarts::mix
