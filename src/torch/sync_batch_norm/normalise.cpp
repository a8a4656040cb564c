// Any device and floating-point type; sums over ranks are in double precision, everything else in the type that libtorch
// computes in. Nothing here waits for the device.
//
// Gradients on a rank are those of the sum of all ranks' losses with respect to its own tensors: what this rank's images
// do to the statistics, and so to the other ranks' losses, is in the gradient of `x`. Weights and biases, which every
// rank has, get this rank's share, as all other parameters do: the average of the shares over ranks is the gradient of
// the mean of the ranks' losses.
#include "normalise.h"

#include <ATen/OpMathType.h>

#include "../autograd_function.h"
#include "../channelwise/batch_norm.h"
#include "reduction.h"

namespace pdarts::sync_batch_norm {
namespace {

using at::TensorList;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// All but the channels.
constexpr int64_t kReduced[] = {0, 2, 3};
// Where a layer stands in the list of differentiable inputs: x, followed by weight and bias if it has them.
struct Place {
  size_t x;
  bool affine;

  size_t weight() const { return x + 1; }
  size_t bias() const { return x + 2; }
  size_t end() const { return x + (affine ? 3 : 1); }
};

// A call without its differentiable inputs.
struct Plan : torch::CustomClassHolder {
  std::vector<Place> places;
  std::vector<Tensor> running_means, running_vars;

  size_t num_layers() const { return places.size(); }
};

// What backward needs of a layer.
struct Saved {
  Tensor x, weight, mean, inverse; // inverse: 1 / deviation
};

// In the type that libtorch computes in.
Tensor widened(const Tensor &x) { return x.to(at::toOpMathType(x.scalar_type())); }

// Values for each channel [C] (or undefined), to be combined with `like`.
Tensor by_channel(const Tensor &values, const Tensor &like) {
  return values.to(like.scalar_type()).view({1, -1, 1, 1});
}

// Number of values per channel, the sum and the sum of squares of each channel: [1 + 2 C]. The squares come from the
// variance, whose sum over the batch keeps its digits.
Tensor local_sums(const Tensor &x) {
  const auto [variance, mean] = at::var_mean(widened(x), kReduced, /*correction=*/0);
  const double count = x.numel() / x.size(1);
  const Tensor means = mean.to(at::kDouble);
  const Tensor squares = variance.to(at::kDouble) + means * means;
  return at::cat({at::full({1}, count, means.options()), means * count, squares * count});
}

void move_running(const Tensor &running, const Tensor &values) {
  running.mul_(1 - kMomentum).add_(values.to(running.scalar_type()), kMomentum);
}

// `x` shifted and scaled to its output.
Tensor transformed(const Tensor &x, const Tensor &weight, const Tensor &bias, const Tensor &mean,
                   const Tensor &inverse) {
  const Tensor wide = widened(x);
  const Tensor scale = weight.defined() ? inverse * weight : inverse;
  const Tensor shift = bias.defined() ? bias - mean * scale : -mean * scale;
  return at::addcmul(by_channel(shift, wide), wide, by_channel(scale, wide)).to(x.scalar_type());
}

class Normalise : public torch::autograd::Function<Normalise> {
public:
  static variable_list forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Plan> plan) {
    std::vector<Tensor> sums;
    for (const Place &place : plan->places) {
      sums.push_back(local_sums(tensors[place.x]));
    }
    const Tensor packed = at::cat(sums);
    sum_over_ranks(packed);
    const Tensor count = packed[0];
    TORCH_CHECK(!count.is_cpu() || count.item<double>() > 1,
                "BatchNorm over all ranks: training needs more than one value per channel");
    variable_list outputs, saved{tensors.begin(), tensors.end()};
    int64_t position = 0;
    for (size_t layer = 0; layer < plan->num_layers(); ++layer) {
      const Place &place = plan->places[layer];
      const Tensor &x = tensors[place.x];
      const int64_t channels = x.size(1);
      const Tensor mean = packed.narrow(0, position + 1, channels) / count;
      const Tensor squares = packed.narrow(0, position + 1 + channels, channels) / count;
      const Tensor variance = (squares - mean * mean).clamp_min_(0);
      position += 1 + 2 * channels;
      move_running(plan->running_means[layer], mean);
      move_running(plan->running_vars[layer], variance * (count / (count - 1)));
      const Tensor inverse = (variance + kEpsilon).rsqrt_();
      outputs.push_back(place.affine
                            ? transformed(x, tensors[place.weight()], tensors[place.bias()], mean, inverse)
                            : transformed(x, {}, {}, mean, inverse));
      saved.insert(saved.end(), {mean, inverse});
    }
    saved.push_back(count);
    context->save_for_backward(saved);
    save_object(*context, "plan", plan);
    context->set_materialize_grads(false);
    return outputs;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("BatchNorm over all ranks");
    const auto plan = saved_object<Plan>(*context, "plan");
    const variable_list all = context->get_saved_variables();
    const std::vector<Saved> layers = saved_of(*plan, all);
    variable_list results(plan->places.back().end() + 1); // and the plan's, undefined
    std::vector<Tensor> sums;
    bool want_any = false;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const Place &place = plan->places[layer];
      const auto [sum, product] = gradient_sums(layers[layer], gradients[layer]);
      if (place.affine) {
        const auto type = layers[layer].weight.scalar_type();
        results[place.weight()] = (product * layers[layer].inverse).to(type);
        results[place.bias()] = sum.to(type);
      }
      sums.insert(sums.end(), {sum, product});
      want_any = want_any || context->needs_input_grad(place.x);
    }
    if (!want_any) {
      return results;
    }
    const Tensor packed = at::cat(sums);
    sum_over_ranks(packed);
    const Tensor means = packed / all.back();
    int64_t position = 0;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const int64_t channels = layers[layer].mean.size(0);
      if (context->needs_input_grad(plan->places[layer].x) && gradients[layer].defined()) {
        results[plan->places[layer].x] =
            input_gradient(layers[layer], gradients[layer], means.narrow(0, position, channels),
                           means.narrow(0, position + channels, channels));
      }
      position += 2 * channels;
    }
    return results;
  }

private:
  static std::vector<Saved> saved_of(const Plan &plan, const variable_list &all) {
    std::vector<Saved> layers;
    size_t position = plan.places.back().end();
    for (const Place &place : plan.places) {
      layers.push_back({all[place.x], place.affine ? all[place.weight()] : Tensor(), all[position], all[position + 1]});
      position += 2;
    }
    return layers;
  }

  // This rank's sums of the gradient and of its product with x - mean.
  static std::pair<Tensor, Tensor> gradient_sums(const Saved &layer, const Tensor &gradient) {
    if (!gradient.defined()) {
      return {at::zeros_like(layer.mean), at::zeros_like(layer.mean)};
    }
    const Tensor wide = widened(gradient), wide_x = widened(layer.x);
    const Tensor centred = wide_x - by_channel(layer.mean, wide_x);
    return {wide.sum(kReduced).to(at::kDouble), (wide * centred).sum(kReduced).to(at::kDouble)};
  }

  // scale * (gradient - its mean - (x - mean) / deviation^2 * the mean product)
  static Tensor input_gradient(const Saved &layer, const Tensor &gradient, const Tensor &mean_gradient,
                               const Tensor &mean_product) {
    const Tensor scale = layer.weight.defined() ? layer.inverse * layer.weight : layer.inverse;
    const Tensor curvature = scale * layer.inverse * layer.inverse * mean_product;
    const Tensor shift = curvature * layer.mean - scale * mean_gradient;
    const Tensor wide = widened(gradient), wide_x = widened(layer.x);
    Tensor result = at::addcmul(by_channel(shift, wide), wide, by_channel(scale, wide));
    return result.addcmul_(wide_x, by_channel(curvature, wide), -1).to(layer.x.scalar_type());
  }
};

} // namespace

variable_list normalise(const std::vector<Layer> &layers) {
  const auto plan = c10::make_intrusive<Plan>();
  std::vector<Tensor> tensors;
  for (const Layer &layer : layers) {
    plan->places.push_back({tensors.size(), layer.weight.defined()});
    plan->running_means.push_back(layer.running_mean);
    plan->running_vars.push_back(layer.running_var);
    tensors.push_back(layer.x);
    if (layer.weight.defined()) {
      tensors.insert(tensors.end(), {layer.weight, layer.bias});
    }
  }
  return Normalise::apply(TensorList(tensors), plan);
}

} // namespace pdarts::sync_batch_norm
