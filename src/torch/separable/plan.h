// What the passes of operation.cpp share: the description of a call, its packed weights, its partition.
#pragma once
#include "../channelwise/statistics.h"
#include "../depthwise/convolution.h"
#include "../shim.h"
#include "../sizes.h"
#include "kernels.h"

namespace pdarts::separable {
namespace {

using depthwise::Buffer;
using torch::Tensor;

PDARTS_DEFINE_KERNELS

// A call without its differentiable inputs.
struct Plan : torch::CustomClassHolder {
  depthwise::Shape shape;
  int64_t groups, outputs; // of the pointwise convolution; outputs of one group

  // BatchNorm of the input; both undefined where there is none.
  Tensor running_mean, running_var;
  bool training = false, over_ranks = false;
  channelwise::Statistics statistics;
  double num_values = 0; // for each channel, that the statistics are of

  bool normalised() const { return running_mean.defined(); }
  bool depends_on_batch() const { return normalised() && training; }
  // Channels between the two convolutions, of all groups and of one.
  int64_t middle() const { return shape.edges * shape.channels; }
  int64_t inputs() const { return middle() / groups; }
  int64_t out_pixels() const { return shape.out_height * shape.out_width; }
};

using PlanPointer = c10::intrusive_ptr<Plan>;

// A call on its differentiable inputs; BatchNorm's weight and bias are undefined where it has none.
struct Call {
  PlanPointer plan;
  Tensor x, depthwise_weight, pointwise_weight, norm_weight, norm_bias;
};

// Weights [groups * outputs, inputs, 1, 1] as [group][input][outputs, filled up with zeros], or, for the way back,
// as [group][output][inputs, filled up].
template <typename T> Buffer<T> pack(const Plan &plan, const Tensor &weight, bool way_back) {
  const Tensor contiguous = weight.to(c10::CppTypeToScalarType<T>::value).contiguous();
  const T *from = contiguous.const_data_ptr<T>();
  const int64_t inputs = plan.inputs(), outputs = plan.outputs, lanes = kernels<T>().lanes;
  const int64_t rows = way_back ? outputs : inputs, row_size = round_up(way_back ? inputs : outputs, lanes);
  Buffer<T> packed(plan.groups * rows * row_size);
  for (int64_t group = 0; group < plan.groups; ++group) {
    T *to = packed.data() + group * rows * row_size;
    for (int64_t output = 0; output < outputs; ++output) {
      for (int64_t input = 0; input < inputs; ++input) {
        to[way_back ? output * row_size + input : input * row_size + output] = *from++;
      }
    }
  }
  return packed;
}

// The images, in groups whose sums of gradients are kept apart and added up in their order. The partition depends on
// the number of images alone, so that the sums do not depend on the number of threads.
struct Parts {
  static constexpr int64_t kMost = 32;
  int64_t images, images_of_part;

  explicit Parts(int64_t images) : images(images), images_of_part(std::max<int64_t>((images + kMost - 1) / kMost, 1)) {}
  int64_t count() const { return (images + images_of_part - 1) / images_of_part; }
  int64_t begin(int64_t part) const { return part * images_of_part; }
  int64_t end(int64_t part) const { return std::min(begin(part) + images_of_part, images); }
};

// What the input, stored as S, is multiplied with and moved by before the ReLU.
template <typename S> struct Affine {
  using T = Compute<S>;
  std::vector<T> scale, shift;

  Affine(const Plan &plan, const Tensor &weight, const Tensor &bias)
      : scale(plan.shape.channels, 1), shift(plan.shape.channels, 0) {
    if (!plan.normalised()) {
      return;
    }
    for (int64_t channel = 0; channel < plan.shape.channels; ++channel) {
      const double gain = weight.defined() ? double(weight.const_data_ptr<T>()[channel]) : 1;
      const double offset = bias.defined() ? double(bias.const_data_ptr<T>()[channel]) : 0;
      const double factor = gain * plan.statistics.inverse_deviation[channel];
      scale[channel] = factor;
      shift[channel] = offset - factor * plan.statistics.mean[channel];
    }
  }

  depthwise::Input<S> of(const Tensor &x) const {
    return {field_of<const S>(x), scale.data(), shift.data()};
  }
};

// One image between the two convolutions, in a core's own cache and in the type that it is computed with: pixels of all
// groups' channels, and a register more, which kernels may read.
template <typename T> struct Middle {
  Buffer<T> values;
  int64_t width, channels;

  explicit Middle(const Plan &plan)
      : values(plan.out_pixels() * plan.middle() + kernels<T>().lanes), width(plan.shape.out_width),
        channels(plan.middle()) {}
  // The same place for whatever image.
  Field<T> field() const { return {values.data(), 0, width * channels, channels}; }
  Field<const T> const_field() const { return {values.data(), 0, width * channels, channels}; }
  Pixels<const T> group(int64_t first_channel) const { return {values.data() + first_channel, channels}; }
  Pixels<T> mutable_group(int64_t first_channel) const { return {values.data() + first_channel, channels}; }
};

// The depthwise half of a call, image by image.
template <typename S> struct Depthwise {
  using T = Compute<S>;
  const depthwise::Shape &shape;
  depthwise::Tiling tiling;
  Buffer<T> weights;
  depthwise::Input<S> input;

  Depthwise(const Plan &plan, const Tensor &weight, const depthwise::Input<S> &input)
      : shape(plan.shape), tiling(depthwise::Tiling::of<T>(shape)),
        weights(depthwise::pack_weights<T>(shape, tiling, weight)), input(input) {}

  int64_t block_size() const { return depthwise::block_size(shape, tiling); }
  int64_t packed_size() const { return tiling.blocks * block_size(); }
  const depthwise::Kernels<S, T> &kernel() const { return depthwise::kernels_between<S, T>(); }
  int64_t scratch_size() const { return kernel().scratch_elements(shape, tiling.band_rows); }

  // Calls `visit(tile's index, offset of its block of channels in packed weights)` for the tiles of an image.
  template <typename Visit> void for_each_tile(int64_t image, const Visit &visit) const {
    const int64_t tiles = tiling.bands * tiling.blocks;
    for (int64_t index = image * tiles; index < (image + 1) * tiles; ++index) {
      visit(index, index % tiling.blocks * block_size());
    }
  }

  void forward(int64_t image, const Middle<T> &to, T *scratch) const {
    for_each_tile(image, [&](int64_t index, int64_t block) {
      kernel().forward(shape, tiling.output_tile(shape, index), input, weights.data() + block, to.field(), scratch);
    });
  }
};

} // namespace
} // namespace pdarts::separable
