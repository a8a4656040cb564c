// The mix on GPUs: the kernels of cuda.h as one autograd function, the sibling of that in
// operation.cpp.
#pragma once
#include <c10/core/DeviceGuard.h>

#include "../autograd_function.h"
#include "../cuda/backend.h"
#include "cuda.h"
#include "plan.h"

namespace pdarts::mix {
namespace {

// Whether the kernels have room for a call, whose statistics must be those of this rank alone.
bool fits_gpu(const Plan &plan) {
  return !plan.over_ranks && plan.num_branches() <= kMaxCudaBranches && plan.num_edges() <= kMaxCudaEdges &&
         plan.num_nodes() <= kMaxCudaNodes;
}

int64_t num_blocks(const Plan &plan, const Tensor &y) { return y.size(1) / plan.channels; }

Tensor new_statistics(const Plan &plan, TensorList ys) {
  int64_t rows = 0;
  for (const Tensor &y : ys) {
    rows += num_blocks(plan, y);
  }
  return at::empty({2, rows, plan.channels}, ys[0].options().dtype(compute_type_of(ys[0])));
}

// A call without its sums, gradients and workspace. `ys` and `weights` are dense.
template <typename S>
CudaCall<S> cuda_call(const Plan &plan, TensorList ys, const Tensor &weights, const Tensor &statistics) {
  using T = Compute<S>;
  CudaCall<S> call{};
  call.pixels = num_pixels(ys[0]);
  call.channels = plan.channels;
  call.num_branches = plan.num_branches();
  call.num_edges = plan.num_edges();
  call.num_nodes = plan.num_nodes();
  call.training = plan.training;
  for (int index = 0; index < call.num_branches; ++index) {
    const Branch &branch = plan.branches[index];
    CudaBranch<S> &to = call.branches[index];
    to.y = const_data<S>(ys[index]);
    to.blocks = num_blocks(plan, ys[index]);
    if (branch.normalised()) {
      to.running_mean = branch.running_mean.template mutable_data_ptr<T>();
      to.running_var = branch.running_var.template mutable_data_ptr<T>();
    }
    to.first_row = call.num_rows;
    call.num_rows += to.blocks;
  }
  for (int index = 0; index < call.num_edges; ++index) {
    const Edge &edge = plan.edges[index];
    call.edges[index] = {int(edge.branch), int(edge.first_channel / plan.channels), int(edge.node)};
  }
  call.weights = weights.const_data_ptr<T>();
  call.statistics = statistics.mutable_data_ptr<T>();
  return call;
}

// The memory that a call works in, as long as it is queued.
template <typename S> Tensor new_workspace(const cuda::Table<S> &table, CudaCall<S> &call, const Tensor &like) {
  const Tensor workspace = at::empty({table.mix.workspace_bytes(call)}, like.options().dtype(at::kByte));
  call.workspace = workspace.mutable_data_ptr();
  return workspace;
}

// Adds the branches to `sums`, one for each of the plan's nodes; returns the statistics, for backward.
template <typename S>
Tensor gpu_forward(const cuda::Table<S> &table, cuda::Stream stream, const Plan &plan, TensorList ys,
                   const Tensor &weights, TensorList sums) {
  const Tensor statistics = new_statistics(plan, ys);
  CudaCall<S> call = cuda_call<S>(plan, ys, weights, statistics);
  for (int node = 0; node < call.num_nodes; ++node) {
    TORCH_CHECK(sums[node].is_contiguous(at::MemoryFormat::ChannelsLast),
                "mix: a node's sum that this function did not begin");
    call.sums[node] = sums[node].mutable_data_ptr<Compute<S>>();
    call.is_new[node] = plan.is_new[node];
  }
  const Tensor workspace = new_workspace(table, call, ys[0]);
  cuda::check(table.mix.forward(call, stream), "mix");
  return statistics;
}

// Undefined where not wanted.
struct GpuGradients {
  Tensor weights;
  variable_list ys;
};

// `gradients`: of the nodes' sums, dense, undefined where zero.
template <typename S>
GpuGradients gpu_backward(const cuda::Table<S> &table, cuda::Stream stream, const Plan &plan, TensorList ys,
                          const Tensor &weights, const Tensor &statistics, TensorList gradients, bool want_weights,
                          const std::vector<bool> &want_branch) {
  using T = Compute<S>;
  CudaCall<S> call = cuda_call<S>(plan, ys, weights, statistics);
  for (int node = 0; node < call.num_nodes; ++node) {
    // Which the kernels only read.
    call.sums[node] = gradients[node].defined() ? const_cast<T *>(gradients[node].const_data_ptr<T>()) : nullptr;
  }
  GpuGradients results{{}, variable_list(ys.size())};
  if (want_weights) {
    results.weights = at::empty_like(weights);
    call.weights_gradient = results.weights.mutable_data_ptr<T>();
  }
  for (int index = 0; index < call.num_branches; ++index) {
    if (want_branch[index]) {
      results.ys[index] = new_activations(ys[index], ys[index].size(1));
      call.branches[index].y_gradient = mutable_data<S>(results.ys[index]);
    }
  }
  const Tensor workspace = new_workspace(table, call, ys[0]);
  cuda::check(table.mix.backward(call, stream), "mix's gradient");
  return results;
}

class GpuMix : public torch::autograd::Function<GpuMix> {
public:
  // One sum for each of the plan's nodes.
  static variable_list forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Plan> plan) {
    const Inputs inputs(*plan);
    const Tensor weights = tensors[inputs.weights()].contiguous();
    variable_list saved;
    for (const Tensor &y : tensors.slice(inputs.branch(0))) {
      saved.push_back(dense(y));
    }
    const c10::DeviceGuard guard(weights.device());
    const variable_list sums = begin_sums(*plan, tensors, saved[0], weights.scalar_type());
    Tensor statistics;
    with_storage_type(saved[0].scalar_type(), [&]<typename S>() {
      statistics = gpu_forward(cuda::table<S>(), cuda::current_stream(weights), *plan, saved, weights, sums);
    });
    saved.push_back(weights);
    saved.push_back(statistics);
    keep_for_backward(*context, tensors, plan, std::move(saved));
    return sums;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("mix");
    const auto plan = saved_object<Plan>(*context, "plan");
    const Inputs inputs(*plan);
    const variable_list saved = context->get_saved_variables();
    const TensorList ys = TensorList(saved).slice(0, inputs.num_branches);
    const Tensor &weights = saved[inputs.num_branches], &statistics = saved[inputs.num_branches + 1];
    const c10::DeviceGuard guard(weights.device());
    variable_list results = begin_results(*plan, gradients, dense);
    const bool want_weights = context->needs_input_grad(inputs.weights());
    const std::vector<bool> want_branch = inputs.wanted_branches(*context);
    with_storage_type(ys[0].scalar_type(), [&]<typename S>() {
      GpuGradients all = gpu_backward(cuda::table<S>(), cuda::current_stream(weights), *plan, ys, weights, statistics,
                                      gradients, want_weights, want_branch);
      results[inputs.weights()] = all.weights;
      std::move(all.ys.begin(), all.ys.end(), results.begin() + inputs.branch(0));
    });
    return results;
  }
};

} // namespace
} // namespace pdarts::mix
