// The sum of a node's branches in an evaluation network: each branch's BatchNorm where there is one, drop path's mask and the
// addition as one autograd function.
//
// Each pass over memory serves all branches at once: one takes statistics, one writes the sum; backward, one takes sums and one
// writes the gradients. Nothing is kept for backward but the branches before normalisation. On a GPU (gpu.h) as well. Anything
// else is composed of libtorch's operations.
#include <ATen/record_function.h>

#include "../autograd_function.h"
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../sync_batch_norm/normalise.h"
#include "backward.h"
#include "gpu.h"

namespace pdarts::branch_sum {
namespace {

class BranchSum : public torch::autograd::Function<BranchSum> {
public:
  static Tensor forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Plan> plan) {
    variable_list inputs(tensors.begin(), tensors.end());
    for (const Branch &branch : plan->branches) {
      inputs[branch.y] = as_pixels(inputs[branch.y]);
    }
    const Tensor sum = with_storage_type(
        inputs[0].scalar_type(), [&]<typename S>() { return branch_sum::forward<S>(*plan, inputs); });
    context->save_for_backward(kept(*plan, std::move(inputs)));
    save_object(*context, "plan", plan);
    return sum;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("sum of branches");
    const auto plan = saved_object<Plan>(*context, "plan");
    const variable_list saved = context->get_saved_variables();
    const Tensor gradient = as_pixels(gradients[0]);
    std::vector<Wanted> wanted;
    for (const Branch &branch : plan->branches) {
      wanted.emplace_back(*context, branch);
    }
    variable_list results(plan->num_inputs() + 1); // and the plan's, undefined
    with_storage_type(gradient.scalar_type(), [&]<typename S>() {
      auto sums = gradient_sums<S>(*plan, saved, gradient, wanted);
      for (size_t index = 0; index < wanted.size(); ++index) {
        const Branch &branch = plan->branches[index];
        if (wanted[index].affine) {
          std::tie(results[branch.weight()], results[branch.bias()]) =
              affine_gradients<S>(plan->statistics[index], sums[index], saved[branch.weight()]);
        }
      }
      if (plan->over_ranks) {
        sum_over_ranks(*plan, sums, wanted);
      }
      const auto of_branches = branch_gradients<S>(*plan, saved, gradient, sums, wanted);
      for (size_t index = 0; index < wanted.size(); ++index) {
        results[plan->branches[index].y] = of_branches[index];
      }
    });
    return results;
  }
};

// The branches, normalised where they are to be.
variable_list normalised(const Plan &plan, TensorList tensors) {
  variable_list outputs;
  std::vector<sync_batch_norm::Layer> layers;
  for (const Branch &branch : plan.branches) {
    const Tensor &y = tensors[branch.y];
    const Tensor weight = branch.affine ? tensors[branch.weight()] : Tensor();
    const Tensor bias = branch.affine ? tensors[branch.bias()] : Tensor();
    outputs.push_back(y);
    if (plan.over_ranks && branch.normalised()) {
      layers.push_back({y, weight, bias, branch.running_mean, branch.running_var});
    } else if (branch.normalised()) {
      outputs.back() = at::batch_norm(y, weight, bias, branch.running_mean, branch.running_var, plan.training, kMomentum,
                                      kEpsilon, /*cudnn_enabled=*/branch.affine);
    }
  }
  if (!layers.empty()) {
    const variable_list results = sync_batch_norm::normalise(layers);
    auto result = results.begin();
    for (size_t index = 0; index < outputs.size(); ++index) {
      outputs[index] = plan.branches[index].normalised() ? *result++ : outputs[index];
    }
  }
  return outputs;
}

// The same of libtorch's operations: any device and floating-point type.
Tensor composed(const Plan &plan, TensorList tensors) {
  const variable_list outputs = normalised(plan, tensors);
  Tensor sum;
  // Those without masks first: the others are multiplied and added at once.
  for (const bool masked : {false, true}) {
    for (size_t index = 0; index < outputs.size(); ++index) {
      const Branch &branch = plan.branches[index];
      if (branch.masked != masked) {
        continue;
      }
      if (!masked) {
        sum = sum.defined() ? sum + outputs[index] : outputs[index];
      } else {
        const Tensor &mask = tensors[branch.mask()];
        sum = sum.defined() ? at::addcmul(sum, outputs[index], mask) : outputs[index] * mask;
      }
    }
  }
  return sum;
}

// ---- What comes from Rust ----

void check_values(const Tensor *values, const Tensor &y, const char *what) {
  TORCH_CHECK(!values || (values->dim() == 1 && values->size(0) == y.size(1) && values->device() == y.device()),
              "sum of branches: ", what, " ", values->sizes(), " on ", values->device(), " for a branch ", y.sizes(), " on ",
              y.device());
}

// Adds a branch to the plan and to the differentiable inputs.
void add_branch(Plan &plan, variable_list &tensors, const pdarts_branch &from) {
  const Tensor &y = *from.y;
  TORCH_CHECK(y.dim() == 4, "sum of branches: a branch ", y.sizes(), ": expected [N, C, H, W]");
  TORCH_CHECK(tensors.empty() || (y.sizes() == tensors[0].sizes() && y.scalar_type() == tensors[0].scalar_type() &&
                                  y.device() == tensors[0].device()),
              "sum of branches: branches ", tensors[0].sizes(), " of ", tensors[0].scalar_type(), " on ", tensors[0].device(),
              " and ", y.sizes(), " of ", y.scalar_type(), " on ", y.device());
  Branch added{tensors.size(), false, from.mask != nullptr, {}, {}};
  tensors.push_back(y);
  if (from.norm) {
    const pdarts_batch_norm &norm = *from.norm;
    check_values(norm.weight, y, "weight");
    check_values(norm.bias, y, "bias");
    check_values(norm.running_mean, y, "running values");
    check_values(norm.running_var, y, "running values");
    plan.training = plan.training || norm.training;
    plan.over_ranks = plan.training && sync_batch_norm::is_on();
    added.running_mean = *norm.running_mean;
    added.running_var = *norm.running_var;
    added.affine = norm.weight != nullptr;
    if (added.affine) {
      tensors.insert(tensors.end(), {*norm.weight, *norm.bias});
    }
  }
  if (from.mask) {
    TORCH_CHECK(from.mask->numel() == y.size(0) && from.mask->size(0) == y.size(0) && from.mask->is_contiguous() &&
                    from.mask->scalar_type() == y.scalar_type() && from.mask->device() == y.device(),
                "sum of branches: a mask ", from.mask->sizes(), " of ", from.mask->scalar_type(), " for a branch ", y.sizes(),
                " of ", y.scalar_type(), ": expected [N, 1, 1, 1]");
    tensors.push_back(*from.mask);
  }
  plan.branches.push_back(std::move(added));
}

// Whether kernels can read the values of all BatchNorms: in the type that branches are computed with, without gaps.
bool fits_kernels(const Plan &plan, TensorList tensors) {
  return std::all_of(plan.branches.begin(), plan.branches.end(), [&](const Branch &branch) {
    const auto fits = [&](const Tensor &values) {
      return is_compute_type_of(tensors[branch.y], values) && values.is_contiguous();
    };
    return (!branch.normalised() || (fits(branch.running_mean) && fits(branch.running_var))) &&
           (!branch.affine || (fits(tensors[branch.weight()]) && fits(tensors[branch.bias()])));
  });
}

} // namespace

Tensor branch_sum(const pdarts_branch *branches, int64_t num_branches) {
  RECORD_USER_SCOPE("pdarts::branch_sum");
  TORCH_CHECK(num_branches > 0, "sum of branches: there are none");
  const auto plan = c10::make_intrusive<Plan>();
  variable_list tensors;
  for (int64_t index = 0; index < num_branches; ++index) {
    add_branch(*plan, tensors, branches[index]);
  }
  Backend backend = backend_of(tensors[0]);
  if (!fits_kernels(*plan, tensors) || tensors[0].numel() == 0 || (backend == Backend::Gpu && !fits_gpu(*plan))) {
    backend = Backend::Composed;
  }
  if (backend == Backend::Composed) {
    return composed(*plan, tensors);
  }
  TORCH_CHECK(!plan->training || plan->over_ranks || num_pixels(tensors[0]) > 1, "sum of branches: no variance in branches ",
              tensors[0].sizes(), ": training needs more than one value per channel");
  return backend == Backend::Gpu ? GpuBranchSum::apply(TensorList(tensors), plan) : BranchSum::apply(TensorList(tensors), plan);
}

} // namespace pdarts::branch_sum

char *pdarts_branch_sum(const pdarts_branch *branches, int64_t num_branches, torch::Tensor **output) {
  return guarded([&] { *output = new torch::Tensor(pdarts::branch_sum::branch_sum(branches, num_branches)); });
}
