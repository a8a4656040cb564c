// The sum of branches on GPUs: the kernels of cuda.h as one autograd function, the sibling of that in operation.cpp.
#pragma once
#include <c10/core/DeviceGuard.h>

#include "../autograd_function.h"
#include "../cuda/backend.h"
#include "cuda.h"
#include "plan.h"

namespace pdarts::branch_sum {
namespace {

using torch::autograd::variable_list;

// Whether the kernels have room for a call, whose statistics must be those of this rank alone.
bool fits_gpu(const Plan &plan) { return !plan.over_ranks && plan.branches.size() <= kMaxCudaBranches; }

// A call without its sum, gradients and workspace. Branches are dense; those that are not normalised may be undefined.
template <typename S>
CudaCall<S> cuda_call(const Plan &plan, TensorList tensors, const Tensor &like, const Tensor &statistics) {
  using T = Compute<S>;
  CudaCall<S> call{};
  call.pixels = num_pixels(like);
  call.pixels_of_image = int(like.size(2) * like.size(3));
  call.channels = int(like.size(1));
  call.num_branches = int(plan.branches.size());
  call.training = plan.training;
  for (int index = 0; index < call.num_branches; ++index) {
    const Branch &branch = plan.branches[index];
    CudaBranch<S> &to = call.branches[index];
    to.y = tensors[branch.y].defined() ? const_data<S>(tensors[branch.y]) : nullptr;
    to.mask = branch.masked ? const_data<S>(tensors[branch.mask()]) : nullptr;
    if (branch.affine) {
      to.weight = tensors[branch.weight()].template const_data_ptr<T>();
      to.bias = tensors[branch.bias()].template const_data_ptr<T>();
    }
    if (branch.normalised()) {
      to.running_mean = branch.running_mean.template mutable_data_ptr<T>();
      to.running_var = branch.running_var.template mutable_data_ptr<T>();
    }
  }
  call.statistics = statistics.mutable_data_ptr<T>();
  return call;
}

// The memory that a call works in, as long as it is queued.
template <typename S> Tensor new_workspace(const cuda::Table<S> &table, CudaCall<S> &call, const Tensor &like) {
  const Tensor workspace = at::empty({table.branch_sum.workspace_bytes(call)}, like.options().dtype(at::kByte));
  call.workspace = workspace.mutable_data_ptr();
  return workspace;
}

class GpuBranchSum : public torch::autograd::Function<GpuBranchSum> {
public:
  static Tensor forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Plan> plan) {
    const c10::DeviceGuard guard(tensors[0].device());
    variable_list inputs(tensors.begin(), tensors.end());
    for (const Branch &branch : plan->branches) {
      inputs[branch.y] = dense(inputs[branch.y]);
    }
    const Tensor &like = inputs[0], sum = new_activations(like, like.size(1));
    const auto options = like.options().dtype(compute_type_of(like));
    const Tensor statistics = at::empty({2, int64_t(plan->branches.size()), like.size(1)}, options);
    with_storage_type(like.scalar_type(), [&]<typename S>() {
      const auto &table = cuda::table<S>();
      CudaCall<S> call = cuda_call<S>(*plan, inputs, like, statistics);
      call.sum = mutable_data<S>(sum);
      const Tensor workspace = new_workspace(table, call, like);
      cuda::check(table.branch_sum.forward(call, cuda::current_stream(like)), "sum of branches");
    });
    variable_list saved = kept(*plan, std::move(inputs));
    saved.push_back(statistics);
    context->save_for_backward(std::move(saved));
    save_object(*context, "plan", plan);
    return sum;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("sum of branches");
    const auto plan = saved_object<Plan>(*context, "plan");
    const variable_list saved = context->get_saved_variables();
    const Tensor gradient = dense(gradients[0]);
    const c10::DeviceGuard guard(gradient.device());
    variable_list results(plan->num_inputs() + 1); // and the plan's, undefined
    with_storage_type(gradient.scalar_type(), [&]<typename S>() {
      using T = Compute<S>;
      const auto &table = cuda::table<S>();
      CudaCall<S> call = cuda_call<S>(*plan, saved, gradient, saved.back());
      call.gradient = const_data<S>(gradient);
      for (int index = 0; index < call.num_branches; ++index) {
        const Branch &branch = plan->branches[index];
        const Wanted wanted(*context, branch);
        CudaBranch<S> &to = call.branches[index];
        if (wanted.affine) {
          results[branch.weight()] = at::empty_like(saved[branch.weight()]);
          results[branch.bias()] = at::empty_like(saved[branch.weight()]);
          to.weight_gradient = results[branch.weight()].template mutable_data_ptr<T>();
          to.bias_gradient = results[branch.bias()].template mutable_data_ptr<T>();
        }
        if (wanted.y && !branch.normalised() && !branch.masked) {
          results[branch.y] = gradient;
        } else if (wanted.y) {
          results[branch.y] = new_activations(gradient, gradient.size(1));
          to.y_gradient = mutable_data<S>(results[branch.y]);
        }
      }
      const Tensor workspace = new_workspace(table, call, gradient);
      cuda::check(table.branch_sum.backward(call, cuda::current_stream(gradient)), "sum of branches, backward");
    });
    return results;
  }
};

} // namespace
} // namespace pdarts::branch_sum
