// Backward pass of operation.cpp: each image goes back through both convolutions in a core's own cache, where what was
// between them is computed again; then BatchNorm's own gradient, which needs sums over the batch.
#pragma once
#include "plan.h"

namespace pdarts::separable {
namespace {

struct Wanted {
  bool input, depthwise, pointwise, norm;

  // Whether anything before the pointwise convolution is.
  bool middle() const { return input || depthwise || norm; }
  // Whether the gradient of the normalised input is.
  bool normalised_input() const { return input || norm; }
};

// Undefined where not wanted.
struct Gradients {
  Tensor input, depthwise, pointwise, norm_weight, norm_bias;
};

// Sums over an image of the gradient of each channel and of its products with x - mean: [2, channels].
template <typename S>
void add_norm_sums(const Plan &plan, const Tensor &x, const Tensor &gradient, const std::vector<Compute<S>> &mean,
                   int64_t image, double *sums) {
  const int64_t channels = plan.shape.channels, pixels = plan.shape.height * plan.shape.width;
  std::vector<Compute<S>> of_image(2 * channels);
  const channelwise::Centred<S> factor{channelwise::pixels_of<S>(x), mean.data()};
  for (int64_t pixel = image * pixels; pixel < (image + 1) * pixels; pixel += channelwise::kStepPixels) {
    const channelwise::Range range{pixel, std::min(pixel + channelwise::kStepPixels, (image + 1) * pixels)};
    channelwise::kernels<S>().products(channelwise::pixels_of<S>(gradient), &factor, 1, channels, range,
                                       of_image.data());
  }
  for (int64_t position = 0; position < 2 * channels; ++position) {
    sums[position] += of_image[position];
  }
}

// [part][group][output][inputs, filled up] -> [groups * outputs, inputs, 1, 1] of the weight's type, the parts added up
// in their order.
template <typename T>
Tensor sum_pointwise(const Plan &plan, int64_t num_parts, const Buffer<T> &shares, const Tensor &weight) {
  const int64_t rows = plan.groups * plan.outputs, inputs = plan.inputs();
  const int64_t row_size = round_up(inputs, kernels<T>().lanes);
  Tensor gradient = at::empty(weight.sizes(), c10::CppTypeToScalarType<T>::value);
  T *to = gradient.mutable_data_ptr<T>();
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::fill_n(to + row * inputs, inputs, T(0));
      for (int64_t part = 0; part < num_parts; ++part) {
        const T *share = shares.data() + (part * rows + row) * row_size;
        for (int64_t input = 0; input < inputs; ++input) {
          to[row * inputs + input] += share[input];
        }
      }
    }
  });
  return gradient.to(weight.scalar_type());
}

// The output's gradient image by image, in the type that it is computed with: where it lies, or a copy in a core's own
// cache, because the kernels read single values, for which widening would cost more than the product.
template <typename S> class OutputGradient {
public:
  using T = Compute<S>;

  OutputGradient(const Plan &plan, const Tensor &gradient)
      : gradient_(channelwise::pixels_of<S>(gradient)), pixels_(plan.out_pixels()), channels_(gradient.size(1)) {}

  // Elements of a copy.
  int64_t copy_size() const { return kIsBFloat16<S> ? pixels_ * channels_ : 0; }

  Pixels<const T> of_image(int64_t image, T *copy) const {
    const S *from = gradient_.data + image * pixels_ * gradient_.step;
    if constexpr (kIsBFloat16<S>) {
      for (int64_t pixel = 0; pixel < pixels_; ++pixel) {
        std::transform(from + pixel * gradient_.step, from + pixel * gradient_.step + channels_,
                       copy + pixel * channels_, widened<S>);
      }
      return {copy, channels_};
    } else {
      return {from, gradient_.step};
    }
  }

private:
  const Pixels<const S> gradient_;
  const int64_t pixels_, channels_;
};

// The way back through both convolutions.
template <typename S> class WayBack {
public:
  using T = Compute<S>;

  WayBack(const Plan &plan, const Wanted &wanted, const Tensor &x, const Tensor &y_gradient, const Affine<S> &affine,
          const Tensor &depthwise_weight, const Tensor &pointwise_weight)
      : plan_(plan), wanted_(wanted), x_(x), y_gradient_(plan, y_gradient),
        depthwise_(plan, depthwise_weight, affine.of(x)),
        weights_(pack<T>(plan, pointwise_weight, /*way_back=*/true)), depthwise_weight_(depthwise_weight),
        pointwise_weight_(pointwise_weight), parts_(plan.shape.images),
        row_size_(round_up(plan.inputs(), kernels<T>().lanes)),
        depthwise_shares_(wanted.depthwise ? parts_.count() * depthwise_.packed_size() : 0),
        pointwise_shares_(wanted.pointwise ? parts_.count() * pointwise_size() : 0),
        mean_(plan.statistics.mean.begin(), plan.statistics.mean.end()),
        norm_shares_(plan.normalised() ? parts_.count() * 2 * plan.shape.channels : 0) {
    if (wanted.normalised_input()) {
      input_gradient_ = depthwise::new_activations(x, plan.shape.channels, plan.shape.height, plan.shape.width);
    }
  }

  void run() {
    at::parallel_for(0, parts_.count(), 1, [&](int64_t begin, int64_t end) {
      const Buffer<T> scratch(depthwise_.scratch_size()), gradient_copy(y_gradient_.copy_size());
      const Middle<T> middle(plan_), middle_gradient(plan_);
      for (int64_t part = begin; part < end; ++part) {
        for (int64_t image = parts_.begin(part); image < parts_.end(part); ++image) {
          const auto y_gradient = y_gradient_.of_image(image, gradient_copy.data());
          through_pointwise(part, image, y_gradient, middle, middle_gradient, scratch.data());
          through_depthwise(part, image, middle_gradient, scratch.data());
          if (plan_.normalised() && wanted_.normalised_input()) {
            add_norm_sums<S>(plan_, x_, input_gradient_, mean_, image,
                          norm_shares_.data() + part * 2 * plan_.shape.channels);
          }
        }
      }
    });
  }

  // Of scale * x + shift, where BatchNorm has none of its own.
  const Tensor &input_gradient() const { return input_gradient_; }
  Tensor depthwise_gradient() const {
    return depthwise::sum_parts(plan_.shape, depthwise_.tiling, parts_.count(), depthwise_shares_, depthwise_weight_);
  }
  Tensor pointwise_gradient() const {
    return sum_pointwise(plan_, parts_.count(), pointwise_shares_, pointwise_weight_);
  }
  // As of add_norm_sums, over the batch.
  std::vector<double> norm_sums() const {
    const int64_t size = 2 * plan_.shape.channels;
    std::vector<double> sums(size);
    for (size_t position = 0; position < norm_shares_.size(); ++position) {
      sums[position % size] += norm_shares_[position];
    }
    return sums;
  }

private:
  int64_t pointwise_size() const { return plan_.groups * plan_.outputs * row_size_; }

  void through_pointwise(int64_t part, int64_t image, const Pixels<const T> &y_gradient, const Middle<T> &middle,
                         const Middle<T> &middle_gradient, T *scratch) {
    const int64_t pixels = plan_.out_pixels(), inputs = plan_.inputs(), outputs = plan_.outputs;
    if (wanted_.pointwise) {
      depthwise_.forward(image, middle, scratch);
    }
    for (int64_t group = 0; group < plan_.groups; ++group) {
      const Pixels<const T> gradient{y_gradient.data + group * outputs, y_gradient.step};
      const int64_t packed = group * outputs * row_size_;
      if (wanted_.pointwise) {
        T *sums = pointwise_shares_.data() + part * pointwise_size() + packed;
        kernels<T>().add_outer_product({pixels, inputs, outputs, middle.group(group * inputs), gradient, sums});
      }
      if (wanted_.middle()) {
        kernels<T>().multiply(
            {pixels, outputs, inputs, gradient, weights_.data() + packed, middle_gradient.mutable_group(group * inputs)});
      }
    }
  }

  void through_depthwise(int64_t part, int64_t image, const Middle<T> &middle_gradient, T *scratch) {
    const auto &s = plan_.shape;
    const auto &kernel = depthwise_.kernel();
    const auto gradient = middle_gradient.const_field();
    depthwise_.for_each_tile(image, [&](int64_t index, int64_t block) {
      if (wanted_.normalised_input()) {
        kernel.input_gradient(s, depthwise_.tiling.input_tile(s, index), depthwise_.input, gradient,
                              depthwise_.weights.data() + block, field_of<S>(input_gradient_));
      }
      if (wanted_.depthwise) {
        kernel.weight_gradient(s, depthwise_.tiling.output_tile(s, index), depthwise_.input, gradient,
                               depthwise_shares_.data() + part * depthwise_.packed_size() + block, scratch);
      }
    });
  }

  const Plan &plan_;
  const Wanted wanted_;
  const Tensor &x_;
  const OutputGradient<S> y_gradient_;
  const Depthwise<S> depthwise_;
  const Buffer<T> weights_;
  const Tensor &depthwise_weight_, &pointwise_weight_;
  const Parts parts_;
  const int64_t row_size_; // of the pointwise convolution's packed weights and their gradient
  const Buffer<T> depthwise_shares_, pointwise_shares_;
  const std::vector<T> mean_;
  std::vector<double> norm_shares_; // [part][2][channels]
  Tensor input_gradient_;
};

// Turns the gradient of the normalised input into that of `x`, in place. With a = weight / deviation, it is
// a * (G - mean(G)) - a * (x - mean) / deviation^2 * mean(G * (x - mean)), the means being those of training alone.
template <typename S>
void through_norm(const Plan &plan, const Affine<S> &affine, const Tensor &x, const std::vector<double> &sums,
                  const Tensor &gradient) {
  const int64_t channels = plan.shape.channels;
  const auto own = channelwise::pixels_of<S>(gradient);
  channelwise::OwnedCombination<S> combination{channelwise::mutable_pixels_of<S>(gradient), false,
                                               std::vector<Compute<S>>(channels), {{own, affine.scale.data()}}};
  std::vector<Compute<S>> curvature(channels);
  if (plan.depends_on_batch()) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      const double scale = affine.scale[channel], inverse = plan.statistics.inverse_deviation[channel];
      curvature[channel] = -scale * inverse * inverse * sums[channels + channel] / plan.num_values;
      combination.shift[channel] =
          -scale * sums[channel] / plan.num_values - curvature[channel] * plan.statistics.mean[channel];
    }
    combination.terms.push_back({channelwise::pixels_of<S>(x), curvature.data()});
  }
  channelwise::combine<S, S>({combination}, channels, channelwise::num_pixels(x));
}

// The gradients of BatchNorm's weight and bias: this rank's share, of its own sums.
template <typename T>
std::pair<Tensor, Tensor> norm_gradients(const Plan &plan, const std::vector<double> &sums, const Tensor &weight) {
  const int64_t channels = plan.shape.channels;
  Tensor of_weight = at::empty_like(weight), of_bias = at::empty_like(weight);
  T *weights = of_weight.mutable_data_ptr<T>(), *biases = of_bias.mutable_data_ptr<T>();
  for (int64_t channel = 0; channel < channels; ++channel) {
    biases[channel] = sums[channel];
    weights[channel] = sums[channels + channel] * plan.statistics.inverse_deviation[channel];
  }
  return {of_weight, of_bias};
}

template <typename S>
Gradients backward(const Plan &plan, const Wanted &wanted, const Tensor &x, const Tensor &depthwise_weight,
                   const Tensor &pointwise_weight, const Tensor &norm_weight, const Tensor &norm_bias,
                   const Tensor &y_gradient) {
  const Affine<S> affine(plan, norm_weight, norm_bias);
  WayBack<S> way_back(plan, wanted, x, y_gradient, affine, depthwise_weight, pointwise_weight);
  way_back.run();
  Gradients gradients;
  if (wanted.depthwise) {
    gradients.depthwise = way_back.depthwise_gradient();
  }
  if (wanted.pointwise) {
    gradients.pointwise = way_back.pointwise_gradient();
  }
  if (plan.normalised() && wanted.normalised_input()) {
    std::vector<double> sums = way_back.norm_sums();
    if (wanted.norm) {
      std::tie(gradients.norm_weight, gradients.norm_bias) = norm_gradients<Compute<S>>(plan, sums, norm_weight);
    }
    if (wanted.input && plan.over_ranks) {
      sync_batch_norm::sum_over_ranks(sums);
    }
    if (wanted.input) {
      through_norm(plan, affine, x, sums, way_back.input_gradient());
    }
  }
  if (wanted.input) {
    gradients.input = way_back.input_gradient();
  }
  return gradients;
}

} // namespace
} // namespace pdarts::separable
