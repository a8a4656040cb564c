// The CPU kernels of scale, shift, ReLU and depthwise convolution, as one table of functions per instruction set.
//
// Each table comes from the same templates (see table.h), compiled once per instruction set; which one runs is decided
// at run time. Nothing here may include libtorch or the standard library's templates: a template that two
// translation units instantiate with different compiler flags is merged by the linker, and the wrong one may win.
#pragma once
#include <cstdint>

#include "../field.h"
#include "../tables.h"

namespace pdarts::depthwise {

// Sizes of one call. Channel `e * channels + c` of the output convolves channel `c` of the input with edge `e`'s
// kernel; padding = dilation * (kernel - 1) / 2.
struct Shape {
  int64_t images, channels, height, width, out_height, out_width, edges, kernel, stride, dilation, padding;
};

// A convolution's input is the ReLU of scale * x + shift; both are [channels].
template <typename T> struct Input {
  Field<const T> x;
  const Compute<T> *scale, *shift;
};

// What one call of a kernel computes: all edges of the channels [channel, channel + lanes) of some rows of an image.
struct Tile {
  int64_t image, channel, row_begin, row_end;
};

// Weights and their gradient are packed [channel block][edge][tap][lane], with zeros in the lanes beyond the last
// channel; `weights` points to the tile's channel block. `scratch` begins as zeros, and every tile of one call of the
// operation that uses the same scratch relies on what the ones before it left there.
//
// The input and its gradient are stored as X, the output and its gradient as Y; both are computed with the same type.
template <typename X, typename Y = X> struct Kernels {
  using T = Compute<X>;
  // Channels of a block.
  int64_t lanes;
  // Elements of scratch for a tile of `rows` output rows.
  int64_t (*scratch_elements)(const Shape &shape, int64_t rows);
  // The tile's rows count in the output.
  void (*forward)(const Shape &shape, const Tile &tile, Input<X> input, const T *weights, Field<Y> y, T *scratch);
  // Of scale * x + shift. The tile's rows count in the input.
  void (*input_gradient)(const Shape &shape, const Tile &tile, Input<X> input, Field<const Y> y_gradient,
                         const T *weights, Field<X> gradient);
  // The tile's rows count in the output; adds the tile's share of the sum.
  void (*weight_gradient)(const Shape &shape, const Tile &tile, Input<X> input, Field<const Y> y_gradient,
                          T *weight_gradient, T *scratch);
};

#define PDARTS_DEPTHWISE_TABLES(TABLE)                                                                                 \
  PDARTS_STORAGE_TABLES(TABLE) TABLE(bfloat16_to_float_kernels, BFloat16, float)
PDARTS_DECLARE_TABLES(PDARTS_DEPTHWISE_TABLES)

} // namespace pdarts::depthwise
