// ReLU and depthwise convolution of one input for several edges, as one autograd function.
//
// On the CPU in bfloat16, single and double precision it runs the kernels of kernels.h and keeps nothing but its
// inputs for backward; anything else is composed of libtorch's operations. (GPUs have kernels of it together with the
// pointwise convolution that follows it, in ../separable.)
#include <utility>
#include <vector>

#include <ATen/record_function.h>

#include "../autograd_function.h"
#include "../guarded.h"
#include "../kernel_choice.h"
#include "../shim.h"
#include "convolution.h"

namespace pdarts::depthwise {
namespace {

// The input as it is.
template <typename S> struct Unscaled {
  std::vector<Compute<S>> ones, zeros;

  explicit Unscaled(const Shape &s) : ones(s.channels, 1), zeros(s.channels, 0) {}
  Input<S> of(const Tensor &x) const { return {field_of<const S>(x), ones.data(), zeros.data()}; }
};

template <typename S> Tensor forward(const Shape &s, const Tensor &x, const Tensor &weight) {
  using T = Compute<S>;
  Tensor y = new_activations(x, s.edges * s.channels, s.out_height, s.out_width);
  const Tiling tiling = Tiling::of<T>(s);
  const auto &kernel = kernels<S>();
  const auto weights = pack_weights<T>(s, tiling, weight);
  const Unscaled<S> unscaled(s);
  const auto from = unscaled.of(x);
  const auto to = field_of<S>(y);
  at::parallel_for(0, tiling.tiles(s), 1, [&](int64_t begin, int64_t end) {
    const Buffer<T> scratch(kernel.scratch_elements(s, tiling.band_rows));
    for (int64_t index = begin; index < end; ++index) {
      const T *block = weights.data() + index % tiling.blocks * block_size(s, tiling);
      kernel.forward(s, tiling.output_tile(s, index), from, block, to, scratch.data());
    }
  });
  return y;
}

// The gradients of `x` and of `weight`; undefined where not wanted.
template <typename S>
std::pair<Tensor, Tensor> backward(const Shape &s, const Tensor &x, const Tensor &weight, const Tensor &y_gradient,
                                   bool want_input, bool want_weight) {
  using T = Compute<S>;
  const Tiling tiling = Tiling::of<T>(s);
  const auto &kernel = kernels<S>();
  const int64_t block = block_size(s, tiling);
  const Unscaled<S> unscaled(s);
  const auto input = unscaled.of(x);
  const auto output_gradient = field_of<const S>(y_gradient);
  const auto weights = pack_weights<T>(s, tiling, weight);
  const Buffer<T> shares(want_weight ? tiling.tiles(s) * block : 0);
  Tensor x_gradient = want_input ? new_activations(x, s.channels, s.height, s.width) : Tensor();
  const auto input_gradient = want_input ? field_of<S>(x_gradient) : Field<S>{};
  at::parallel_for(0, tiling.tiles(s), 1, [&](int64_t begin, int64_t end) {
    const Buffer<T> scratch(want_weight ? kernel.scratch_elements(s, tiling.band_rows) : 0);
    // Both gradients of a tile in turn: the second finds the tile in the cache.
    for (int64_t index = begin; index < end; ++index) {
      if (want_input) {
        kernel.input_gradient(s, tiling.input_tile(s, index), input, output_gradient,
                              weights.data() + index % tiling.blocks * block, input_gradient);
      }
      if (want_weight) {
        kernel.weight_gradient(s, tiling.output_tile(s, index), input, output_gradient, shares.data() + index * block,
                               scratch.data());
      }
    }
  });
  return {x_gradient, want_weight ? sum_parts(s, tiling, tiling.parts(s), shares, weight) : Tensor()};
}

class ReluDepthwise : public torch::autograd::Function<ReluDepthwise> {
public:
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &x, const Tensor &weight,
                        int64_t stride, int64_t dilation) {
    const Shape shape = shape_of(x, weight, stride, dilation);
    const Tensor adjacent = with_adjacent_channels(x);
    context->save_for_backward({adjacent, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["dilation"] = dilation;
    return with_storage_type(
        x.scalar_type(), [&]<typename S>() { return depthwise::forward<S>(shape, adjacent, weight); });
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    refuse_double_backward("relu_depthwise");
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const Shape shape =
        shape_of(x, weight, context->saved_data["stride"].toInt(), context->saved_data["dilation"].toInt());
    const Tensor gradient = with_adjacent_channels(gradients[0]);
    auto [x_gradient, weight_gradient] = with_storage_type(x.scalar_type(), [&]<typename S>() {
      return depthwise::backward<S>(shape, x, weight, gradient, context->needs_input_grad(0),
                                    context->needs_input_grad(1));
    });
    return {x_gradient, weight_gradient, Tensor(), Tensor()};
  }
};

Tensor relu_depthwise(const Tensor &x, const Tensor &weight, int64_t stride, int64_t dilation) {
  RECORD_USER_SCOPE("pdarts::relu_depthwise");
  const Shape shape = shape_of(x, weight, stride, dilation);
  const bool own_kernels = x.is_cpu() && backend_of(x) == Backend::Cpu;
  TORCH_CHECK((x.scalar_type() == weight.scalar_type() || (own_kernels && is_compute_type_of(x, weight))) &&
                  x.device() == weight.device(),
              "relu_depthwise: input of ", x.scalar_type(), " on ", x.device(), ", weight of ", weight.scalar_type(),
              " on ", weight.device());
  return own_kernels ? ReluDepthwise::apply(x, weight, stride, dilation) : composed(shape, x, weight);
}

} // namespace
} // namespace pdarts::depthwise

char *pdarts_relu_depthwise(const torch::Tensor *x, const torch::Tensor *weight, int64_t stride, int64_t dilation,
                            torch::Tensor **output) {
  return guarded([&] {
    *output = new torch::Tensor(pdarts::depthwise::relu_depthwise(*x, *weight, stride, dilation));
  });
}
