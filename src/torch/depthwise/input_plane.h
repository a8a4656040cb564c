// A tile's input after the ReLU, copied into scratch: one block of channels, pixel after pixel, with zero columns left
// and right, so that inner loops see neither borders nor the strides of memory. Rows outside of the image are left out
// of the sums instead.
#pragma once
#include "tile.h"

namespace pdarts::depthwise {
namespace {

// Rows [begin, end).
struct Rows {
  int64_t begin, end;
};

// Columns of the plane, wide enough for a last block of output pixels that overhangs.
inline int64_t input_columns(const Shape &s) {
  const int64_t read = (round_up(s.out_width, kMaxPixels) - 1) * s.stride + s.dilation * (s.kernel - 1) + 1;
  return larger(read, s.padding + s.width);
}

// The input rows that the output rows of a tile read.
inline Rows input_rows(const Shape &s, const Tile &tile) {
  const int64_t last = (tile.row_end - 1) * s.stride - s.padding + s.dilation * (s.kernel - 1);
  return {larger(tile.row_begin * s.stride - s.padding, 0), smaller(last + 1, s.height)};
}

// The kernel rows that fall into the image for output row `row`.
inline Rows kernel_rows(const Shape &s, int64_t row) {
  const int64_t first = row * s.stride - s.padding; // input row of kernel row 0
  const int64_t begin = divide_up(larger(-first, 0), s.dilation);
  return {begin, smaller(s.kernel, divide_down(s.height - 1 - first, s.dilation) + 1)};
}

// Elements of the plane of a tile with `rows` output rows.
template <typename T> int64_t input_scratch(const Shape &s, int64_t rows) {
  const int64_t num_rows = smaller((rows - 1) * s.stride + s.dilation * (s.kernel - 1) + 1, s.height);
  return num_rows * input_columns(s) * kLanes<T>;
}

// Writes the ReLU of the input rows `rows` between the zero columns of `plane`.
template <typename X, bool whole>
void fill_input_plane(const Shape &s, const Tile &tile, Rows rows, const Input<X> &input, Compute<X> *plane) {
  using T = Compute<X>;
  const int64_t count = live_lanes<T>(s, tile), columns = input_columns(s);
  const Field<const X> &x = input.x;
  const Lanes<T> scale = load_lanes<whole>(input.scale + tile.channel, count);
  const Lanes<T> shift = load_lanes<whole>(input.shift + tile.channel, count);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const X *from = row_of(x, tile, row);
    T *to = plane + ((row - rows.begin) * columns + s.padding) * kLanes<T>;
    for (int64_t column = 0; column < s.width; ++column) {
      store(to + column * kLanes<T>, relu<T>(load_lanes<whole>(from + column * x.pixel, count) * scale + shift));
    }
  }
}

} // namespace
} // namespace pdarts::depthwise
