// One call of a depthwise convolution as the operations built on kernels.h see it: its sizes, its partition into tiles,
// packed weights.
#pragma once
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "../activations.h"
#include "../instruction_set.h"
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
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4, "depthwise convolution: input ", x.sizes(), " and weight ", weight.sizes(),
              ": expected [N, C, H, W] and [E * C, 1, k, k]");
  const int64_t channels = x.size(1), kernel = weight.size(2);
  TORCH_CHECK(channels > 0 && weight.size(0) % channels == 0 && weight.size(1) == 1 && weight.size(3) == kernel,
              "depthwise convolution: weight ", weight.sizes(), " for ", channels, " channels: expected [E * ", channels,
              ", 1, k, k]");
  TORCH_CHECK(kernel == 3 || kernel == 5 || kernel == 7, "depthwise convolution: kernel ", kernel, ": expected 3, 5 or 7");
  TORCH_CHECK((stride == 1 || stride == 2) && (dilation == 1 || dilation == 2), "depthwise convolution: stride ", stride,
              ", dilation ", dilation, ": expected 1 or 2 each");
  TORCH_CHECK(x.size(2) > 0 && x.size(3) > 0, "depthwise convolution: empty image ", x.sizes());
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

// From inputs stored as X to outputs stored as Y.
template <typename X, typename Y> const Kernels<X, Y> &kernels_between() {
  if constexpr (std::is_same_v<X, Y>) {
    return kernels<X>();
  } else {
    return PDARTS_TABLE(bfloat16_to_float_kernels);
  }
}

Tensor new_activations(const Tensor &like, int64_t channels, int64_t height, int64_t width) {
  return at::empty({like.size(0), channels, height, width}, like.options(), at::MemoryFormat::ChannelsLast);
}

// The partition of a call into tiles: by image, by band of rows, by block of channels. It depends on the sizes alone,
// so that sums over tiles do not depend on the number of threads.
struct Tiling {
  int64_t bands, band_rows, blocks, lanes;

  // T is what the kernels compute with.
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
  const Tensor contiguous = weight.to(c10::CppTypeToScalarType<T>::value).contiguous();
  const T *from = contiguous.const_data_ptr<T>();
  T *to = packed.data();
  for_each_weight(s, tiling, [&](int64_t plain, int64_t position) { to[position] = from[plain]; });
  return packed;
}

// ReLU and convolution of libtorch's operations: any device and floating-point type.
Tensor composed(const Shape &s, const Tensor &x, const Tensor &weight) {
  if (x.is_cpu() && x.scalar_type() == at::kBFloat16) {
    // libtorch 2.13's own with dilation is wrong at some sizes, by more than all its values.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    return composed(s, x.to(at::kFloat), weight.to(at::kFloat)).to(at::kBFloat16);
  }
  const Tensor repeated = at::cat(std::vector<Tensor>(s.edges, at::relu(x)), 1);
  const std::vector<int64_t> stride{s.stride, s.stride}, padding{s.padding, s.padding},
      dilation{s.dilation, s.dilation};
  return at::conv2d(repeated, weight, {}, stride, padding, dilation, s.edges * s.channels);
}

// Adds up the shares of `num_parts` in their order: [part][packed weight] -> [E * C, 1, k, k], of the weight's type.
template <typename T>
Tensor sum_parts(const Shape &s, const Tiling &tiling, int64_t num_parts, const Buffer<T> &shares,
                 const Tensor &weight) {
  const int64_t size = tiling.blocks * block_size(s, tiling);
  const Buffer<T> packed(size);
  at::parallel_for(0, size, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t part = 0; part < num_parts; ++part) {
      const T *from = shares.data() + part * size;
      for (int64_t position = begin; position < end; ++position) {
        packed.data()[position] += from[position];
      }
    }
  });
  Tensor gradient = at::empty(weight.sizes(), c10::CppTypeToScalarType<T>::value);
  T *to = gradient.mutable_data_ptr<T>();
  for_each_weight(s, tiling, [&](int64_t plain, int64_t position) { to[plain] = packed.data()[position]; });
  return gradient.to(weight.scalar_type());
}

} // namespace
} // namespace pdarts::depthwise
