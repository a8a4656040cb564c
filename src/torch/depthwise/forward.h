// The convolution itself: sums of a few pixels for all edges stay in registers, and every load of the input serves all
// edges, every load of a weight all pixels.
#pragma once
#include "input_plane.h"

namespace pdarts::depthwise {
namespace {

constexpr int forward_pixels(int edges) {
  if (edges == 1) {
    return 8;
  }
  return kNumRegisters == 32 ? (edges == 2 ? 8 : 4) : (edges == 2 ? 4 : 2);
}

// One output row of `edges` edges: `input` is the plane's row that kernel row `kernel_rows.begin` reads, `weights` and
// `y` are those of the first of these edges.
template <typename Y, bool whole, int edges>
void forward_row(const Shape &s, Rows kernel_rows, const Compute<Y> *input, const Compute<Y> *weights, Y *y,
                 int64_t y_pixel, int64_t count) {
  using T = Compute<Y>;
  constexpr int pixels = forward_pixels(edges);
  const int64_t pixel_step = s.stride * kLanes<T>, tap_step = s.dilation * kLanes<T>;
  const int64_t row_step = s.dilation * input_columns(s) * kLanes<T>, edge_step = taps(s) * kLanes<T>;
  for (int64_t column = 0; column < s.out_width; column += pixels) {
    Lanes<T> sums[pixels][edges] = {};
    const T *row = input + column * pixel_step;
    const T *weight = weights + kernel_rows.begin * s.kernel * kLanes<T>;
    for (int64_t ky = kernel_rows.begin; ky < kernel_rows.end; ++ky, row += row_step) {
      const T *from = row;
      for (int64_t kx = 0; kx < s.kernel; ++kx, from += tap_step, weight += kLanes<T>) {
        Lanes<T> tap[edges];
#pragma GCC unroll 8
        for (int edge = 0; edge < edges; ++edge) {
          tap[edge] = load(weight + edge * edge_step);
        }
#pragma GCC unroll 8
        for (int pixel = 0; pixel < pixels; ++pixel) {
          const Lanes<T> value = load(from + pixel * pixel_step);
#pragma GCC unroll 8
          for (int edge = 0; edge < edges; ++edge) {
            sums[pixel][edge] += value * tap[edge];
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int pixel = 0; pixel < pixels; ++pixel) {
      if (column + pixel < s.out_width) {
#pragma GCC unroll 8
        for (int edge = 0; edge < edges; ++edge) {
          store_lanes<whole>(y + (column + pixel) * y_pixel + edge * s.channels, sums[pixel][edge], count);
        }
      }
    }
  }
}

template <typename X, typename Y, bool whole>
void forward_tile(const Shape &s, const Tile &tile, const Input<X> &input, const Compute<X> *weights,
                  const Field<Y> &y, Compute<X> *scratch) {
  using T = Compute<X>;
  const Rows rows = input_rows(s, tile);
  fill_input_plane<X, whole>(s, tile, rows, input, scratch);
  const int64_t count = live_lanes<T>(s, tile);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const Rows kernel = kernel_rows(s, row);
    const int64_t first_input_row = row * s.stride - s.padding + kernel.begin * s.dilation;
    const T *from = scratch + (first_input_row - rows.begin) * input_columns(s) * kLanes<T>;
    for (int64_t edge = 0; edge < s.edges;) {
      const T *edge_weights = weights + edge * taps(s) * kLanes<T>;
      Y *to = row_of(y, tile, row) + edge * s.channels;
      const auto run = [&](auto kernel_row) { kernel_row(s, kernel, from, edge_weights, to, y.pixel, count); };
      switch (s.edges - edge) {
      case 1:
        run(forward_row<Y, whole, 1>);
        edge += 1;
        break;
      case 2:
        run(forward_row<Y, whole, 2>);
        edge += 2;
        break;
      case 3:
        run(forward_row<Y, whole, 3>);
        edge += 3;
        break;
      default:
        run(forward_row<Y, whole, 4>);
        edge += 4;
      }
    }
  }
}

} // namespace
} // namespace pdarts::depthwise
