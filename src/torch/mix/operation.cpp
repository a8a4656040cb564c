// The weighted sum of the operations that leave one state, added to the nodes it leads to: BatchNorm without affine,
// the architecture weight and the sum over operations as one autograd function.
//
// In single and double precision, and of bfloat16 with sums in single, each pass over memory serves all operations at once, and
// nothing is kept for backward but the operations' outputs before normalisation; on a GPU (gpu.h) as well. Anything else is
// composed of libtorch's operations.
#include <ATen/record_function.h>

#include "../autograd_function.h"
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../sync_batch_norm/normalise.h"
#include "backward.h"
#include "forward.h"
#include "gpu.h"

namespace pdarts::mix {
namespace {

class Mix : public torch::autograd::Function<Mix> {
public:
  // One sum for each of the plan's nodes.
  static variable_list forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Plan> plan) {
    const Inputs inputs(*plan);
    const Tensor weights = tensors[inputs.weights()].contiguous();
    variable_list ys;
    for (const Tensor &y : tensors.slice(inputs.branch(0))) {
      ys.push_back(as_pixels(y));
    }
    const variable_list sums = begin_sums(*plan, tensors, ys[0], weights.scalar_type());
    with_storage_type(ys[0].scalar_type(), [&]<typename S>() {
      take_statistics<S>("mix", *plan, ys);
      add_to_sums<S>(*plan, ys, weights, sums);
    });
    ys.push_back(weights);
    keep_for_backward(*context, tensors, plan, std::move(ys));
    return sums;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("mix");
    const auto plan = saved_object<Plan>(*context, "plan");
    const Inputs inputs(*plan);
    variable_list ys = context->get_saved_variables();
    const Tensor weights = ys.back();
    ys.pop_back();
    variable_list results = begin_results(*plan, gradients, as_pixels);
    const bool want_weights = context->needs_input_grad(inputs.weights());
    const std::vector<bool> want_branch = inputs.wanted_branches(*context);
    with_storage_type(ys[0].scalar_type(), [&]<typename S>() {
      auto sums = gradient_sums<S>(*plan, ys, gradients, want_weights, want_branch);
      if (want_weights) {
        results[inputs.weights()] = weights_gradient<Compute<S>>(*plan, weights, sums);
      }
      if (plan->over_ranks) {
        sum_over_ranks(*plan, sums, want_branch);
      }
      const auto of_branches = input_gradients<S>(*plan, ys, weights, gradients, sums, want_branch);
      std::copy(of_branches.begin(), of_branches.end(), results.begin() + inputs.branch(0));
    });
    return results;
  }
};

// The branches' outputs, normalised where they are to be.
variable_list normalised(const Plan &plan, TensorList ys) {
  variable_list outputs(ys.begin(), ys.end());
  if (plan.over_ranks) {
    std::vector<sync_batch_norm::Layer> layers;
    for (int64_t index = 0; index < plan.num_branches(); ++index) {
      if (plan.branches[index].normalised()) {
        layers.push_back({ys[index], {}, {}, plan.branches[index].running_mean, plan.branches[index].running_var});
      }
    }
    const variable_list results = sync_batch_norm::normalise(layers);
    auto result = results.begin();
    for (int64_t index = 0; index < plan.num_branches(); ++index) {
      if (plan.branches[index].normalised()) {
        outputs[index] = *result++;
      }
    }
    return outputs;
  }
  for (int64_t index = 0; index < plan.num_branches(); ++index) {
    const Branch &branch = plan.branches[index];
    if (branch.normalised()) {
      outputs[index] = at::batch_norm(ys[index], {}, {}, branch.running_mean, branch.running_var, plan.training,
                                      kMomentum, kEpsilon, false);
    }
  }
  return outputs;
}

// The same of libtorch's operations: any device and floating-point type.
variable_list composed(const Plan &plan, TensorList ys, const Tensor &weights, variable_list sums) {
  variable_list wide;
  for (const Tensor &y : ys) {
    wide.push_back(y.to(weights.scalar_type()));
  }
  const variable_list outputs = normalised(plan, wide);
  for (int64_t index = 0; index < plan.num_edges(); ++index) {
    const Edge &edge = plan.edges[index];
    const Tensor term = outputs[edge.branch].narrow(1, edge.first_channel, plan.channels) * weights[index];
    sums[edge.node] = sums[edge.node].defined() ? sums[edge.node] + term : term;
  }
  return sums;
}

// ---- What comes from Rust ----

void check_statistics(const Tensor &running, const Tensor &y) {
  TORCH_CHECK(running.dim() == 1 && running.size(0) == y.size(1) && running.is_contiguous() &&
                  is_compute_type_of(y, running) && running.device() == y.device(),
              "mix: running statistics ", running.sizes(), " of ", running.scalar_type(), " on ", running.device(),
              " for an operation's output ", y.sizes(), " of ", y.scalar_type(), " on ", y.device());
}

// Adds `branch` with its edges to the plan.
void add_branch(Plan &plan, const pdarts_mix_branch &branch, const Tensor &weights) {
  const Tensor &y = *branch.y;
  TORCH_CHECK(y.dim() == 4, "mix: an operation's output ", y.sizes(), ": expected [N, C, H, W]");
  TORCH_CHECK(is_compute_type_of(y, weights) && y.device() == weights.device(), "mix: an operation's output of ",
              y.scalar_type(), " on ", y.device(), ", weights of ", weights.scalar_type(), " on ", weights.device());
  TORCH_CHECK(branch.num_edges > 0, "mix: an operation without edges");
  const int64_t num_blocks = branch.per_edge ? branch.num_edges : 1;
  TORCH_CHECK(y.size(1) > 0 && y.size(1) % num_blocks == 0, "mix: an operation's output has ", y.size(1),
              " channels, which ", num_blocks, " edges cannot share");
  const int64_t channels = y.size(1) / num_blocks;
  if (plan.branches.empty()) {
    plan.channels = channels;
  }
  TORCH_CHECK(channels == plan.channels, "mix: operations of ", plan.channels, " and of ", channels, " channels");
  Branch added{branch.per_edge, {}, {}};
  if (branch.running_mean) {
    check_statistics(*branch.running_mean, y);
    check_statistics(*branch.running_var, y);
    plan.over_ranks = plan.training && sync_batch_norm::is_on();
    TORCH_CHECK(!plan.training || plan.over_ranks || num_pixels(y) > 1, "mix: no variance in an operation's output ", y.sizes(),
                ": training needs more than one value per channel");
    added.running_mean = *branch.running_mean;
    added.running_var = *branch.running_var;
  }
  for (int64_t index = 0; index < branch.num_edges; ++index) {
    const auto found = std::find(plan.nodes.begin(), plan.nodes.end(), branch.nodes[index]);
    if (found == plan.nodes.end()) {
      plan.nodes.push_back(branch.nodes[index]);
    }
    const int64_t node = std::find(plan.nodes.begin(), plan.nodes.end(), branch.nodes[index]) - plan.nodes.begin();
    plan.edges.push_back({plan.num_branches(), branch.per_edge ? index * channels : 0, node});
  }
  plan.branches.push_back(std::move(added));
}

} // namespace

// Replaces the sums of the nodes that an edge leads to; a missing one begins here.
void mix(Tensor **sums, int64_t num_sums, const pdarts_mix_branch *branches, int64_t num_branches,
         const Tensor &weights, bool training) {
  RECORD_USER_SCOPE("pdarts::mix");
  const auto plan = c10::make_intrusive<Plan>();
  plan->training = training;
  variable_list ys;
  for (int64_t index = 0; index < num_branches; ++index) {
    add_branch(*plan, branches[index], weights);
    ys.push_back(*branches[index].y);
    TORCH_CHECK(num_pixels(ys[index]) == num_pixels(ys[0]) && ys[index].size(2) == ys[0].size(2) &&
                    ys[index].size(3) == ys[0].size(3),
                "mix: operations' outputs ", ys[0].sizes(), " and ", ys[index].sizes());
    TORCH_CHECK(ys[index].scalar_type() == ys[0].scalar_type(), "mix: operations' outputs of ", ys[0].scalar_type(),
                " and of ", ys[index].scalar_type());
  }
  TORCH_CHECK(weights.dim() == 1 && weights.size(0) == plan->num_edges(), "mix: weights ", weights.sizes(), " for ",
              plan->num_edges(), " edges");
  Backend backend = ys.empty() ? Backend::Composed : backend_of(ys[0]);
  if (backend == Backend::Gpu && !fits_gpu(*plan)) {
    backend = Backend::Composed;
  }
  variable_list tensors, results;
  for (const int64_t node : plan->nodes) {
    TORCH_CHECK(node >= 0 && node < num_sums, "mix: node ", node, " of ", num_sums);
    plan->is_new.push_back(!sums[node]);
    results.push_back(sums[node] ? *sums[node] : Tensor());
    if (sums[node]) {
      const Tensor &sum = *sums[node];
      TORCH_CHECK(sum.dim() == 4 && sum.size(1) == plan->channels && sum.size(0) == ys[0].size(0) &&
                      sum.size(2) == ys[0].size(2) && sum.size(3) == ys[0].size(3),
                  "mix: a node's sum ", sum.sizes(), " and an operation's output ", ys[0].sizes());
      TORCH_CHECK(sum.scalar_type() == weights.scalar_type() && sum.device() == weights.device() &&
                      (backend != Backend::Cpu || pixel_step(sum) >= plan->channels),
                  "mix: a node's sum that this function did not begin");
      tensors.push_back(sum);
    }
  }
  if (plan->edges.empty()) {
    return;
  }
  if (backend == Backend::Composed) {
    results = composed(*plan, ys, weights, std::move(results));
  } else {
    tensors.push_back(weights);
    tensors.insert(tensors.end(), ys.begin(), ys.end());
    results = backend == Backend::Gpu ? GpuMix::apply(TensorList(tensors), plan)
                                      : Mix::apply(TensorList(tensors), plan);
  }
  for (int64_t node = 0; node < plan->num_nodes(); ++node) {
    Tensor *&sum = sums[plan->nodes[node]];
    if (sum) {
      *sum = results[node];
    } else {
      sum = new Tensor(results[node]);
    }
  }
}

} // namespace pdarts::mix

char *pdarts_mix(torch::Tensor **sums, int64_t num_sums, const pdarts_mix_branch *branches, int64_t num_branches,
                 const torch::Tensor *weights, bool training) {
  return guarded([&] { pdarts::mix::mix(sums, num_sums, branches, num_branches, *weights, training); });
}
