// The gradient of the weights: the sums of a kernel row stay in registers along a row of the output.
#pragma once
#include "input_plane.h"

namespace pdarts::depthwise {
namespace {

// Edges that share a load of the input: as many as leave the sums of a kernel row in registers.
constexpr int shared_edges(int kernel) {
  const int fitting = (kNumRegisters - 2) / (kernel + 1);
  return fitting < 4 ? fitting : 4;
}

// Kernel rows that share a load of the gradient: all if their sums fit into registers.
constexpr int shared_rows(int kernel, int edges) {
  return kernel * kernel * edges + edges < kNumRegisters ? kernel : 1;
}

// Where one output row's products go: the input row of the first kernel row, the output's gradient and the sums of the
// first edge.
template <typename Y> struct WeightSums {
  const Compute<Y> *input;
  const Y *y_gradient;
  Compute<Y> *sums;
  int64_t y_pixel, count;
};

// Adds one output row's products for `rows` kernel rows and `edges` edges.
template <typename Y, bool whole, int kernel, int edges, int rows>
void add_output_row(const Shape &s, WeightSums<Y> at) {
  using T = Compute<Y>;
  const int64_t pixel_step = s.stride * kLanes<T>, tap_step = s.dilation * kLanes<T>;
  const int64_t row_step = input_columns(s) * tap_step, edge_step = kernel * kernel * kLanes<T>;
  Lanes<T> sums[edges][rows * kernel];
#pragma GCC unroll 8
  for (int edge = 0; edge < edges; ++edge) {
#pragma GCC unroll 32
    for (int tap = 0; tap < rows * kernel; ++tap) {
      sums[edge][tap] = load(at.sums + edge * edge_step + tap * kLanes<T>);
    }
  }
  for (int64_t column = 0; column < s.out_width; ++column, at.input += pixel_step, at.y_gradient += at.y_pixel) {
    Lanes<T> gradient[edges];
#pragma GCC unroll 8
    for (int edge = 0; edge < edges; ++edge) {
      gradient[edge] = load_lanes<whole>(at.y_gradient + edge * s.channels, at.count);
    }
#pragma GCC unroll 32
    for (int tap = 0; tap < rows * kernel; ++tap) {
      const Lanes<T> value = load(at.input + tap / kernel * row_step + tap % kernel * tap_step);
#pragma GCC unroll 8
      for (int edge = 0; edge < edges; ++edge) {
        sums[edge][tap] += value * gradient[edge];
      }
    }
  }
#pragma GCC unroll 8
  for (int edge = 0; edge < edges; ++edge) {
#pragma GCC unroll 32
    for (int tap = 0; tap < rows * kernel; ++tap) {
      store(at.sums + edge * edge_step + tap * kLanes<T>, sums[edge][tap]);
    }
  }
}

// Adds one output row's products for the kernel rows `valid`; `at` is at kernel row 0.
template <typename Y, bool whole, int kernel, int edges>
void add_kernel_rows(const Shape &s, Rows valid, WeightSums<Y> at) {
  using T = Compute<Y>;
  const int64_t row_step = s.dilation * input_columns(s) * kLanes<T>;
  constexpr int together = shared_rows(kernel, edges);
  if (valid.end - valid.begin == together) {
    at.input += valid.begin * row_step;
    at.sums += valid.begin * kernel * kLanes<T>;
    return add_output_row<Y, whole, kernel, edges, together>(s, at);
  }
  for (int64_t ky = valid.begin; ky < valid.end; ++ky) {
    WeightSums<Y> row = at;
    row.input += ky * row_step;
    row.sums += ky * kernel * kLanes<T>;
    add_output_row<Y, whole, kernel, edges, 1>(s, row);
  }
}

template <typename X, typename Y, bool whole, int kernel>
void weight_gradient_kernel(const Shape &s, const Tile &tile, const Input<X> &input,
                            const Field<const Y> &y_gradient, Compute<X> *weight_gradient, Compute<X> *scratch) {
  using T = Compute<X>;
  const Rows rows = input_rows(s, tile);
  fill_input_plane<X, whole>(s, tile, rows, input, scratch);
  const int64_t columns = input_columns(s);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const Rows valid = kernel_rows(s, row);
    WeightSums<Y> at = {scratch + (row * s.stride - s.padding - rows.begin) * columns * kLanes<T>,
                        row_of(y_gradient, tile, row), weight_gradient, y_gradient.pixel, live_lanes<T>(s, tile)};
    for (int64_t edge = 0; edge < s.edges;) {
      const int64_t together = smaller(shared_edges(kernel), s.edges - edge);
      switch (together) {
      case 1:
        add_kernel_rows<Y, whole, kernel, 1>(s, valid, at);
        break;
      case 2:
        add_kernel_rows<Y, whole, kernel, 2>(s, valid, at);
        break;
      case 3:
        add_kernel_rows<Y, whole, kernel, 3>(s, valid, at);
        break;
      default:
        add_kernel_rows<Y, whole, kernel, 4>(s, valid, at);
      }
      edge += together;
      at.y_gradient += together * s.channels;
      at.sums += together * taps(s) * kLanes<T>;
    }
  }
}

template <typename X, typename Y, bool whole>
void weight_gradient_tile(const Shape &s, const Tile &tile, const Input<X> &input, const Field<const Y> &y_gradient,
                          Compute<X> *weight_gradient, Compute<X> *scratch) {
  switch (s.kernel) {
  case 3:
    return weight_gradient_kernel<X, Y, whole, 3>(s, tile, input, y_gradient, weight_gradient, scratch);
  case 5:
    return weight_gradient_kernel<X, Y, whole, 5>(s, tile, input, y_gradient, weight_gradient, scratch);
  default:
    return weight_gradient_kernel<X, Y, whole, 7>(s, tile, input, y_gradient, weight_gradient, scratch);
  }
}

} // namespace
} // namespace pdarts::depthwise
