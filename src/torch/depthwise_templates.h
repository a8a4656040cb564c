// The kernels behind depthwise_kernels.h, for the instruction set that this file is compiled for.
//
// A tile first copies what it reads into planes of scratch: one block of channels, pixel after pixel, with zero columns
// left and right, so that the inner loops see neither borders nor strides of memory. Rows outside of the image are
// left out of the sums instead. The inner loops keep a block of sums in registers.
#pragma once
#include "depthwise_kernels.h"
#include "lanes.h"

namespace pdarts::depthwise {
namespace {

// Pixels that an inner loop computes at once, at most. Planes are wide enough for a last block that overhangs.
constexpr int64_t kMaxPixels = 8;

// Rows [begin, end).
struct Rows {
  int64_t begin, end;
};

inline int64_t taps(const Shape &shape) { return shape.kernel * shape.kernel; }

// Position of the first channel of a tile's row.
template <typename T> inline T *row_of(const Field<T> &field, const Tile &tile, int64_t row) {
  return field.data + tile.image * field.image + row * field.row + tile.channel;
}

// The lanes of a tile that are channels.
template <typename T> inline int64_t live_lanes(const Shape &shape, const Tile &tile) {
  return smaller(kLanes<T>, shape.channels - tile.channel);
}

// ---- The input's plane ----

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
  const int64_t begin = first < 0 ? (-first + s.dilation - 1) / s.dilation : 0;
  const int64_t end = smaller(s.kernel, (s.height - 1 - first) / s.dilation + 1);
  return {begin, end};
}

template <typename T> int64_t input_scratch(const Shape &s, int64_t rows) {
  const int64_t num_rows = smaller((rows - 1) * s.stride + s.dilation * (s.kernel - 1) + 1, s.height);
  return num_rows * input_columns(s) * kLanes<T>;
}

// NaN stays NaN, as in libtorch's ReLU.
template <typename T> inline Lanes<T> relu(Lanes<T> x) { return x < 0 ? Lanes<T>{} : x; }

// Writes the ReLU of the input rows `rows` to `plane`.
template <typename T, bool whole>
void fill_input_plane(const Shape &s, const Tile &tile, Rows rows, const Field<const T> &x, T *plane) {
  const int64_t count = live_lanes<T>(s, tile);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const T *from = row_of(x, tile, row);
    T *to = plane + ((row - rows.begin) * input_columns(s) + s.padding) * kLanes<T>;
    for (int64_t column = 0; column < s.width; ++column) {
      store(to + column * kLanes<T>, relu<T>(load_lanes<whole>(from + column * x.pixel, count)));
    }
  }
}

// ---- Forward ----

constexpr int forward_pixels(int edges) {
  if (edges == 1) {
    return 8;
  }
  return kNumRegisters == 32 ? (edges == 2 ? 8 : 4) : (edges == 2 ? 4 : 2);
}

// One output row of `edges` edges: `input` is the plane's row that kernel row `kernel_rows.begin` reads, `weights` and
// `y` are those of the first of these edges.
template <typename T, bool whole, int edges>
void forward_row(const Shape &s, Rows kernel_rows, const T *input, const T *weights, T *y, int64_t y_pixel,
                 int64_t count) {
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

template <typename T, bool whole>
void forward_tile(const Shape &s, const Tile &tile, const Field<const T> &x, const T *weights, const Field<T> &y,
                  T *scratch) {
  const Rows rows = input_rows(s, tile);
  fill_input_plane<T, whole>(s, tile, rows, x, scratch);
  const int64_t count = live_lanes<T>(s, tile);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const Rows kernel = kernel_rows(s, row);
    const int64_t first_input_row = row * s.stride - s.padding + kernel.begin * s.dilation;
    const T *input = scratch + (first_input_row - rows.begin) * input_columns(s) * kLanes<T>;
    for (int64_t edge = 0; edge < s.edges;) {
      const T *edge_weights = weights + edge * taps(s) * kLanes<T>;
      T *to = row_of(y, tile, row) + edge * s.channels;
      const auto run = [&](auto kernel_row) { kernel_row(s, kernel, input, edge_weights, to, y.pixel, count); };
      switch (s.edges - edge) {
      case 1:
        run(forward_row<T, whole, 1>);
        edge += 1;
        break;
      case 2:
        run(forward_row<T, whole, 2>);
        edge += 2;
        break;
      case 3:
        run(forward_row<T, whole, 3>);
        edge += 3;
        break;
      default:
        run(forward_row<T, whole, 4>);
        edge += 4;
      }
    }
  }
}

// ---- Gradient of the input ----
//
// Pixel x of the input and tap k meet in output pixel (x + padding - k * dilation) / stride, when that is whole. So the
// pixels of one phase (x modulo stride) share their taps, and along them the output moves pixel by pixel.

// Taps begin, begin + step, ... of a phase meet output pixels first, first - move, ... relative to the pixel's index
// among those of its phase.
struct Phase {
  int64_t begin, step, first, move;
};

inline Phase phase_of(const Shape &s, int64_t position) {
  if (s.stride == 1) {
    return {0, 1, s.padding, s.dilation};
  }
  const int64_t odd = (position % s.stride + s.padding) % s.stride;
  if (s.dilation % s.stride == 0) {
    // Every tap keeps the phase: all of them or none.
    return {odd == 0 ? 0 : s.kernel, 1, (position % s.stride + s.padding) / s.stride, s.dilation / s.stride};
  }
  return {odd, s.stride, (position % s.stride + s.padding - odd * s.dilation) / s.stride, s.dilation};
}

inline int64_t gradient_columns(const Shape &s) {
  const int64_t phase_width = (s.width + s.stride - 1) / s.stride;
  return s.padding / s.stride + round_up(phase_width, kMaxPixels) + (s.stride - 1 + s.padding) / s.stride;
}

// The output rows that meet the input rows of a tile.
inline Rows gradient_rows(const Shape &s, const Tile &tile) {
  const int64_t reach = s.dilation * (s.kernel - 1) - s.padding;
  const int64_t begin = (larger(tile.row_begin - reach, 0) + s.stride - 1) / s.stride;
  return {begin, smaller((tile.row_end - 1 + s.padding) / s.stride + 1, s.out_height)};
}

template <typename T> int64_t gradient_scratch(const Shape &s, int64_t rows) {
  const int64_t num_rows = smaller(rows + 2 * s.padding / s.stride + 1, s.out_height);
  return s.edges * num_rows * gradient_columns(s) * kLanes<T>;
}

template <typename T, bool whole>
void fill_gradient_planes(const Shape &s, const Tile &tile, Rows rows, const Field<const T> &y_gradient, T *planes) {
  const int64_t count = live_lanes<T>(s, tile), row_size = gradient_columns(s) * kLanes<T>;
  const int64_t plane_size = (rows.end - rows.begin) * row_size;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const T *from = row_of(y_gradient, tile, row);
    T *to = planes + (row - rows.begin) * row_size + s.padding / s.stride * kLanes<T>;
    for (int64_t column = 0; column < s.out_width; ++column) {
      for (int64_t edge = 0; edge < s.edges; ++edge) {
        const Lanes<T> value = load_lanes<whole>(from + column * y_gradient.pixel + edge * s.channels, count);
        store(to + column * kLanes<T> + edge * plane_size, value);
      }
    }
  }
}

// One row of one phase: adds up all edges and taps for blocks of pixels. `plane` is the row 0 of edge 0, moved by the
// zero columns, `x` and `x_gradient` are at the first pixel of the phase.
template <typename T, bool whole>
void input_gradient_row(const Shape &s, Rows rows, Phase vertical, Phase horizontal, int64_t row, int64_t num_pixels,
                        const T *plane, const T *weights, const T *x, int64_t x_pixel, T *x_gradient,
                        int64_t x_gradient_pixel, int64_t count) {
  constexpr int pixels = kMaxPixels;
  const int64_t row_size = gradient_columns(s) * kLanes<T>, plane_size = (rows.end - rows.begin) * row_size;
  for (int64_t column = 0; column < num_pixels; column += pixels) {
    Lanes<T> sums[pixels] = {};
    for (int64_t edge = 0; edge < s.edges; ++edge) {
      int64_t from_row = row / s.stride + vertical.first;
      for (int64_t ky = vertical.begin; ky < s.kernel; ky += vertical.step, from_row -= vertical.move) {
        if (from_row < rows.begin || from_row >= rows.end) {
          continue;
        }
        const T *from = plane + edge * plane_size + (from_row - rows.begin) * row_size +
                        (column + horizontal.first) * kLanes<T>;
        const T *weight = weights + (edge * taps(s) + ky * s.kernel + horizontal.begin) * kLanes<T>;
        for (int64_t kx = horizontal.begin; kx < s.kernel; kx += horizontal.step) {
          const Lanes<T> tap = load(weight);
#pragma GCC unroll 8
          for (int pixel = 0; pixel < pixels; ++pixel) {
            sums[pixel] += tap * load(from + pixel * kLanes<T>);
          }
          from -= horizontal.move * kLanes<T>;
          weight += horizontal.step * kLanes<T>;
        }
      }
    }
#pragma GCC unroll 8
    for (int pixel = 0; pixel < pixels; ++pixel) {
      if (column + pixel < num_pixels) {
        const Lanes<T> input = load_lanes<whole>(x + (column + pixel) * x_pixel, count);
        const Lanes<T> masked = input <= 0 ? Lanes<T>{} : sums[pixel];
        store_lanes<whole>(x_gradient + (column + pixel) * x_gradient_pixel, masked, count);
      }
    }
  }
}

template <typename T, bool whole>
void input_gradient_tile(const Shape &s, const Tile &tile, const Field<const T> &x, const Field<const T> &y_gradient,
                         const T *weights, const Field<T> &x_gradient, T *scratch) {
  const Rows rows = gradient_rows(s, tile);
  fill_gradient_planes<T, whole>(s, tile, rows, y_gradient, scratch);
  const T *plane = scratch + s.padding / s.stride * kLanes<T>;
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const Phase vertical = phase_of(s, row);
    for (int64_t column = 0; column < smaller(s.stride, s.width); ++column) {
      const int64_t num_pixels = (s.width - column + s.stride - 1) / s.stride;
      input_gradient_row<T, whole>(s, rows, vertical, phase_of(s, column), row, num_pixels, plane, weights,
                                   row_of(x, tile, row) + column * x.pixel, s.stride * x.pixel,
                                   row_of(x_gradient, tile, row) + column * x_gradient.pixel,
                                   s.stride * x_gradient.pixel, live_lanes<T>(s, tile));
    }
  }
}

// ---- Gradient of the weights ----

// Edges that share a load of the input: as many as leave the sums of a kernel row in registers.
constexpr int64_t shared_edges(int kernel) {
  const int fitting = (kNumRegisters - 2) / (kernel + 1);
  return fitting < 4 ? fitting : 4;
}

// Adds one output row's products for kernel row `ky` to the sums of `edges` edges.
template <typename T, bool whole, int kernel, int edges>
void weight_gradient_row(const Shape &s, const T *input, const T *y_gradient, int64_t y_pixel, int64_t count,
                         T *weight_gradient) {
  const int64_t edge_step = kernel * kernel * kLanes<T>;
  const int64_t pixel_step = s.stride * kLanes<T>, tap_step = s.dilation * kLanes<T>;
  Lanes<T> sums[edges][kernel];
#pragma GCC unroll 8
  for (int edge = 0; edge < edges; ++edge) {
#pragma GCC unroll 8
    for (int kx = 0; kx < kernel; ++kx) {
      sums[edge][kx] = load(weight_gradient + edge * edge_step + kx * kLanes<T>);
    }
  }
  for (int64_t column = 0; column < s.out_width; ++column, input += pixel_step, y_gradient += y_pixel) {
    Lanes<T> gradient[edges];
#pragma GCC unroll 8
    for (int edge = 0; edge < edges; ++edge) {
      gradient[edge] = load_lanes<whole>(y_gradient + edge * s.channels, count);
    }
#pragma GCC unroll 8
    for (int kx = 0; kx < kernel; ++kx) {
      const Lanes<T> value = load(input + kx * tap_step);
#pragma GCC unroll 8
      for (int edge = 0; edge < edges; ++edge) {
        sums[edge][kx] += value * gradient[edge];
      }
    }
  }
#pragma GCC unroll 8
  for (int edge = 0; edge < edges; ++edge) {
#pragma GCC unroll 8
    for (int kx = 0; kx < kernel; ++kx) {
      store(weight_gradient + edge * edge_step + kx * kLanes<T>, sums[edge][kx]);
    }
  }
}

template <typename T, bool whole, int kernel>
void weight_gradient_kernel(const Shape &s, const Tile &tile, const Field<const T> &x,
                            const Field<const T> &y_gradient, T *weight_gradient, T *scratch) {
  const Rows rows = input_rows(s, tile);
  fill_input_plane<T, whole>(s, tile, rows, x, scratch);
  memset(weight_gradient, 0, s.edges * taps(s) * kLanes<T> * sizeof(T));
  const int64_t count = live_lanes<T>(s, tile);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const Rows valid = kernel_rows(s, row);
    for (int64_t edge = 0; edge < s.edges;) {
      const int64_t together = smaller(shared_edges(kernel), s.edges - edge);
      const T *gradient = row_of(y_gradient, tile, row) + edge * s.channels;
      for (int64_t ky = valid.begin; ky < valid.end; ++ky) {
        const int64_t input_row = row * s.stride - s.padding + ky * s.dilation;
        const T *input = scratch + (input_row - rows.begin) * input_columns(s) * kLanes<T>;
        T *sums = weight_gradient + (edge * taps(s) + ky * kernel) * kLanes<T>;
        const auto run = [&](auto kernel_row) { kernel_row(s, input, gradient, y_gradient.pixel, count, sums); };
        switch (together) {
        case 1:
          run(weight_gradient_row<T, whole, kernel, 1>);
          break;
        case 2:
          run(weight_gradient_row<T, whole, kernel, 2>);
          break;
        case 3:
          run(weight_gradient_row<T, whole, kernel, 3>);
          break;
        default:
          run(weight_gradient_row<T, whole, kernel, 4>);
        }
      }
      edge += together;
    }
  }
}

template <typename T, bool whole>
void weight_gradient_tile(const Shape &s, const Tile &tile, const Field<const T> &x, const Field<const T> &y_gradient,
                          T *weight_gradient, T *scratch) {
  switch (s.kernel) {
  case 3:
    return weight_gradient_kernel<T, whole, 3>(s, tile, x, y_gradient, weight_gradient, scratch);
  case 5:
    return weight_gradient_kernel<T, whole, 5>(s, tile, x, y_gradient, weight_gradient, scratch);
  default:
    return weight_gradient_kernel<T, whole, 7>(s, tile, x, y_gradient, weight_gradient, scratch);
  }
}

// ---- The table ----

template <typename T>
void forward(const Shape &s, const Tile &tile, Field<const T> x, const T *weights, Field<T> y, T *scratch) {
  const bool whole = live_lanes<T>(s, tile) == kLanes<T>;
  (whole ? forward_tile<T, true> : forward_tile<T, false>)(s, tile, x, weights, y, scratch);
}

template <typename T>
void input_gradient(const Shape &s, const Tile &tile, Field<const T> x, Field<const T> y_gradient, const T *weights,
                    Field<T> x_gradient, T *scratch) {
  const bool whole = live_lanes<T>(s, tile) == kLanes<T>;
  const auto run = whole ? input_gradient_tile<T, true> : input_gradient_tile<T, false>;
  run(s, tile, x, y_gradient, weights, x_gradient, scratch);
}

template <typename T>
void weight_gradient(const Shape &s, const Tile &tile, Field<const T> x, Field<const T> y_gradient, T *weight_gradient,
                     T *scratch) {
  const bool whole = live_lanes<T>(s, tile) == kLanes<T>;
  const auto run = whole ? weight_gradient_tile<T, true> : weight_gradient_tile<T, false>;
  run(s, tile, x, y_gradient, weight_gradient, scratch);
}

template <typename T>
constexpr Kernels<T> kKernels = {kLanes<T>,  input_scratch<T>,  gradient_scratch<T>,
                                 forward<T>, input_gradient<T>, weight_gradient<T>};

} // namespace
} // namespace pdarts::depthwise

// Defines the tables of one instruction set.
#define PDARTS_DEPTHWISE_DEFINE(instruction_set)                                                                       \
  namespace pdarts::depthwise::instruction_set {                                                                       \
  extern const Kernels<float> float_kernels = kKernels<float>;                                                         \
  extern const Kernels<double> double_kernels = kKernels<double>;                                                      \
  }
