// ReLU and depthwise convolution of one input for several edges, as one autograd function.
//
// On the CPU in single and double precision it runs the kernels of kernels.h and keeps nothing but its
// inputs for backward; anything else is composed of libtorch's operations, where a CUDA kernel can take its place.
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../guarded.h"
#include "../instruction_set.h"
#include "../kernel_choice.h"
#include "../shim.h"
#include "kernels.h"

namespace pdarts::depthwise {
namespace {

using torch::Tensor;

// A tile's scratch should stay in a core's own cache.
constexpr int64_t kScratchBytes = 256 * 1024;

// Zeros, aligned for the widest registers.
template <typename T> class Buffer {
public:
  explicit Buffer(int64_t size) : data_(static_cast<T *>(::operator new(size * sizeof(T), kAlignment))) {
    std::fill_n(data_.get(), size, T(0));
  }
  T *data() const { return data_.get(); }

private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(T *data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<T, Delete> data_;
};

Shape shape_of(const Tensor &x, const Tensor &weight, int64_t stride, int64_t dilation) {
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4, "relu_depthwise: input ", x.sizes(), " and weight ", weight.sizes(),
              ": expected [N, C, H, W] and [E * C, 1, k, k]");
  const int64_t channels = x.size(1), kernel = weight.size(2);
  TORCH_CHECK(channels > 0 && weight.size(0) % channels == 0 && weight.size(1) == 1 && weight.size(3) == kernel,
              "relu_depthwise: weight ", weight.sizes(), " for ", channels, " channels: expected [E * ", channels,
              ", 1, k, k]");
  TORCH_CHECK(kernel == 3 || kernel == 5 || kernel == 7, "relu_depthwise: kernel ", kernel, ": expected 3, 5 or 7");
  TORCH_CHECK((stride == 1 || stride == 2) && (dilation == 1 || dilation == 2), "relu_depthwise: stride ", stride,
              ", dilation ", dilation, ": expected 1 or 2 each");
  TORCH_CHECK(x.size(2) > 0 && x.size(3) > 0, "relu_depthwise: empty image ", x.sizes());
  const auto reduced = [&](int64_t size) { return (size - 1) / stride + 1; };
  return {.images = x.size(0),
          .channels = channels,
          .height = x.size(2),
          .width = x.size(3),
          .out_height = reduced(x.size(2)),
          .out_width = reduced(x.size(3)),
          .edges = weight.size(0) / channels,
          .kernel = kernel,
          .stride = stride,
          .dilation = dilation,
          .padding = dilation * (kernel - 1) / 2};
}

PDARTS_DEFINE_KERNELS

// `tensor` itself when its channels are adjacent in memory, else a channels-last copy.
Tensor with_adjacent_channels(const Tensor &tensor) {
  return tensor.size(1) == 1 || tensor.stride(1) == 1 ? tensor : tensor.contiguous(at::MemoryFormat::ChannelsLast);
}

template <typename T> Field<T> field_of(const Tensor &tensor) {
  T *data;
  if constexpr (std::is_const_v<T>) {
    data = tensor.const_data_ptr<std::remove_const_t<T>>();
  } else {
    data = tensor.mutable_data_ptr<T>();
  }
  return {data, tensor.stride(0), tensor.stride(2), tensor.stride(3)};
}

Tensor new_activations(const Tensor &like, int64_t channels, int64_t height, int64_t width) {
  return at::empty({like.size(0), channels, height, width}, like.options(), at::MemoryFormat::ChannelsLast);
}

// The partition of a call into tiles: by image, by band of rows, by block of channels. It depends on the sizes alone,
// so that sums over tiles do not depend on the number of threads.
struct Tiling {
  int64_t bands, band_rows, blocks, lanes;

  template <typename T> static Tiling of(const Shape &s) {
    const auto &kernel = kernels<T>();
    int64_t rows = s.out_height;
    while (rows > 1 && kernel.scratch_elements(s, rows) * int64_t(sizeof(T)) > kScratchBytes) {
      rows = (rows + 1) / 2;
    }
    return {(s.out_height + rows - 1) / rows, rows, (s.channels + kernel.lanes - 1) / kernel.lanes, kernel.lanes};
  }

  // Tiles that share a block of channels: the terms of a sum over tiles.
  int64_t parts(const Shape &s) const { return s.images * bands; }
  int64_t tiles(const Shape &s) const { return parts(s) * blocks; }

  // Tile `index` of rows of the output.
  Tile output_tile(const Shape &s, int64_t index) const {
    const int64_t part = index / blocks, row = part % bands * band_rows;
    return {part / bands, index % blocks * lanes, row, std::min(row + band_rows, s.out_height)};
  }

  // Tile `index` of rows of the input.
  Tile input_tile(const Shape &s, int64_t index) const {
    const Tile tile = output_tile(s, index);
    return {tile.image, tile.channel, tile.row_begin * s.stride, std::min(tile.row_end * s.stride, s.height)};
  }
};

// Elements of one block of channels in packed weights.
int64_t block_size(const Shape &s, const Tiling &tiling) { return s.edges * s.kernel * s.kernel * tiling.lanes; }

// Calls `visit(position in [E * C, 1, k, k], position in [channel block][edge][tap][lane])` for every weight.
template <typename Visit> void for_each_weight(const Shape &s, const Tiling &tiling, const Visit &visit) {
  const int64_t taps = s.kernel * s.kernel;
  for (int64_t edge = 0; edge < s.edges; ++edge) {
    for (int64_t channel = 0; channel < s.channels; ++channel) {
      const int64_t block = channel / tiling.lanes, lane = channel % tiling.lanes;
      for (int64_t tap = 0; tap < taps; ++tap) {
        visit((edge * s.channels + channel) * taps + tap,
              ((block * s.edges + edge) * taps + tap) * tiling.lanes + lane);
      }
    }
  }
}

template <typename T> Buffer<T> pack_weights(const Shape &s, const Tiling &tiling, const Tensor &weight) {
  Buffer<T> packed(tiling.blocks * block_size(s, tiling));
  const Tensor contiguous = weight.contiguous();
  const T *from = contiguous.const_data_ptr<T>();
  T *to = packed.data();
  for_each_weight(s, tiling, [&](int64_t plain, int64_t position) { to[position] = from[plain]; });
  return packed;
}

template <typename T> Tensor forward(const Shape &s, const Tensor &x, const Tensor &weight) {
  Tensor y = new_activations(x, s.edges * s.channels, s.out_height, s.out_width);
  const Tiling tiling = Tiling::of<T>(s);
  const auto &kernel = kernels<T>();
  const auto weights = pack_weights<T>(s, tiling, weight);
  const auto from = field_of<const T>(x);
  const auto to = field_of<T>(y);
  at::parallel_for(0, tiling.tiles(s), 1, [&](int64_t begin, int64_t end) {
    const Buffer<T> scratch(kernel.scratch_elements(s, tiling.band_rows));
    for (int64_t index = begin; index < end; ++index) {
      const T *block = weights.data() + index % tiling.blocks * block_size(s, tiling);
      kernel.forward(s, tiling.output_tile(s, index), from, block, to, scratch.data());
    }
  });
  return y;
}

// Adds up the tiles' shares in their order: [part][packed weight] -> [E * C, 1, k, k].
template <typename T>
Tensor sum_parts(const Shape &s, const Tiling &tiling, const Buffer<T> &shares, const Tensor &weight) {
  const int64_t size = tiling.blocks * block_size(s, tiling);
  const Buffer<T> packed(size);
  at::parallel_for(0, size, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t part = 0; part < tiling.parts(s); ++part) {
      const T *from = shares.data() + part * size;
      for (int64_t position = begin; position < end; ++position) {
        packed.data()[position] += from[position];
      }
    }
  });
  Tensor gradient = at::empty(weight.sizes(), weight.options());
  T *to = gradient.mutable_data_ptr<T>();
  for_each_weight(s, tiling, [&](int64_t plain, int64_t position) { to[plain] = packed.data()[position]; });
  return gradient;
}

// The gradients of `x` and of `weight`; undefined where not wanted.
template <typename T>
std::pair<Tensor, Tensor> backward(const Shape &s, const Tensor &x, const Tensor &weight, const Tensor &y_gradient,
                                   bool want_input, bool want_weight) {
  const Tiling tiling = Tiling::of<T>(s);
  const auto &kernel = kernels<T>();
  const int64_t block = block_size(s, tiling);
  const auto input = field_of<const T>(x), output_gradient = field_of<const T>(y_gradient);
  const auto weights = pack_weights<T>(s, tiling, weight);
  const Buffer<T> shares(want_weight ? tiling.tiles(s) * block : 0);
  Tensor x_gradient = want_input ? new_activations(x, s.channels, s.height, s.width) : Tensor();
  const auto input_gradient = want_input ? field_of<T>(x_gradient) : Field<T>{};
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
  return {x_gradient, want_weight ? sum_parts(s, tiling, shares, weight) : Tensor()};
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
    return AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "relu_depthwise", [&] {
      return depthwise::forward<scalar_t>(shape, adjacent, weight);
    });
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "relu_depthwise: its gradient cannot be differentiated; call backward without create_graph");
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const Shape shape =
        shape_of(x, weight, context->saved_data["stride"].toInt(), context->saved_data["dilation"].toInt());
    const Tensor gradient = with_adjacent_channels(gradients[0]);
    auto [x_gradient, weight_gradient] = AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "relu_depthwise", [&] {
      return depthwise::backward<scalar_t>(shape, x, weight, gradient, context->needs_input_grad(0),
                                           context->needs_input_grad(1));
    });
    return {x_gradient, weight_gradient, Tensor(), Tensor()};
  }
};

// The same of libtorch's operations: any device and floating-point type.
Tensor composed(const Shape &s, const Tensor &x, const Tensor &weight) {
  const Tensor repeated = at::cat(std::vector<Tensor>(s.edges, at::relu(x)), 1);
  const std::vector<int64_t> stride{s.stride, s.stride}, padding{s.padding, s.padding},
      dilation{s.dilation, s.dilation};
  return at::conv2d(repeated, weight, {}, stride, padding, dilation, s.edges * s.channels);
}

Tensor relu_depthwise(const Tensor &x, const Tensor &weight, int64_t stride, int64_t dilation) {
  const Shape shape = shape_of(x, weight, stride, dilation);
  TORCH_CHECK(x.scalar_type() == weight.scalar_type() && x.device() == weight.device(), "relu_depthwise: input of ",
              x.scalar_type(), " on ", x.device(), ", weight of ", weight.scalar_type(), " on ", weight.device());
  return own_kernels_serve(x) ? ReluDepthwise::apply(x, weight, stride, dilation) : composed(shape, x, weight);
}

} // namespace
} // namespace pdarts::depthwise

char *pdarts_relu_depthwise(const torch::Tensor *x, const torch::Tensor *weight, int64_t stride, int64_t dilation,
                            torch::Tensor **output) {
  return guarded([&] {
    *output = new torch::Tensor(pdarts::depthwise::relu_depthwise(*x, *weight, stride, dilation));
  });
}
