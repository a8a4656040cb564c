// The gradient of the input, gathered from the output's gradient over all edges and taps and masked by the ReLU.
//
// Pixel x of the input and tap k meet in output pixel (x + padding - k * dilation) / stride, when that is whole. So the
// pixels of one phase (x modulo stride) share their taps, and along them the output moves pixel by pixel. The output's
// gradient is read where it lies: a block of pixels uses each loaded value for all taps of a kernel row.
#pragma once
#include "tile.h"

namespace pdarts::depthwise {
namespace {

// The `count` taps begin, begin + step, ... of a phase meet the output pixels first, first - move, ..., relative to the
// pixel's index among those of its phase.
struct Phase {
  int64_t begin, step, count, first, move;
};

// The phase of row or column `position`.
inline Phase phase_of(const Shape &s, int64_t position) {
  const int64_t shifted = remainder(position, s.stride) + s.padding, odd = remainder(shifted, s.stride);
  if (s.stride == 2 && s.dilation == 2) {
    // Every tap keeps the phase: all of them or none.
    return {0, 1, odd == 0 ? s.kernel : 0, divide_down(shifted, 2), 1};
  }
  return {odd, s.stride, divide_up(s.kernel - odd, s.stride), divide_down(shifted - odd * s.dilation, s.stride),
          s.dilation};
}

// What the pixels of one row and one phase have in common; the pointers are at the phase's first pixel.
template <typename X> struct PhaseRow {
  Phase vertical, horizontal;
  int64_t row, num_pixels;
  Input<X> input;
  Field<X> gradient;
};

// Adds the products of one kernel row to a block of sums. Tap k meets pixel p in column p - k * move of `from`; columns
// outside of the output have no bit in `inside`, which counts from the first column, -(taps - 1) * move.
template <typename Y, bool whole, int taps, int move>
inline void add_kernel_row(const Y *from, int64_t pixel_step, int64_t count, uint32_t inside,
                           const Compute<Y> *weight, int64_t weight_step, Lanes<Y> (&sums)[kMaxPixels]) {
  using T = Compute<Y>;
  constexpr int first = -(taps - 1) * move;
  Lanes<T> tap[taps];
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) {
    tap[k] = load(weight + k * weight_step);
  }
#pragma GCC unroll 32
  for (int column = first; column < kMaxPixels; ++column) {
    if (inside >> (column - first) & 1) {
      const Lanes<T> value = load_lanes<whole>(from + column * pixel_step, count);
#pragma GCC unroll 8
      for (int k = 0; k < taps; ++k) {
        const int pixel = column + k * move;
        if (pixel >= 0 && pixel < kMaxPixels) {
          sums[pixel] += value * tap[k];
        }
      }
    }
  }
}

// The gradient of one row and one phase; `y_gradient` is at the output's first pixel.
template <typename X, typename Y, bool whole, int taps, int move>
void input_gradient_row(const Shape &s, const PhaseRow<X> &to, const Field<const Y> &y_gradient,
                        const Compute<X> *weights, int64_t count) {
  using T = Compute<X>;
  constexpr int first = -(taps - 1) * move;
  const Phase &vertical = to.vertical, &horizontal = to.horizontal;
  const Lanes<T> scale = load_lanes<whole>(to.input.scale, count), shift = load_lanes<whole>(to.input.shift, count);
  for (int64_t block = 0; block < to.num_pixels; block += kMaxPixels) {
    const int64_t from_column = block + horizontal.first;
    uint32_t inside = 0;
    for (int column = first; column < kMaxPixels; ++column) {
      inside |= uint32_t(from_column + column >= 0 && from_column + column < s.out_width) << (column - first);
    }
    Lanes<T> sums[kMaxPixels] = {};
    for (int64_t edge = 0; edge < s.edges; ++edge) {
      const Y *from = y_gradient.data + edge * s.channels + from_column * y_gradient.pixel;
      const T *weight = weights + (edge * s.kernel * s.kernel + horizontal.begin) * kLanes<T>;
      int64_t from_row = divide_down(to.row, s.stride) + vertical.first;
      for (int64_t index = 0; index < vertical.count; ++index, from_row -= vertical.move) {
        if (from_row >= 0 && from_row < s.out_height) {
          const int64_t ky = vertical.begin + index * vertical.step;
          add_kernel_row<Y, whole, taps, move>(from + from_row * y_gradient.row, y_gradient.pixel, count, inside,
                                               weight + ky * s.kernel * kLanes<T>, horizontal.step * kLanes<T>, sums);
        }
      }
    }
#pragma GCC unroll 8
    for (int pixel = 0; pixel < kMaxPixels; ++pixel) {
      if (block + pixel < to.num_pixels) {
        const Field<const X> &x = to.input.x;
        const Lanes<T> value = load_lanes<whole>(x.data + (block + pixel) * x.pixel, count) * scale + shift;
        const Lanes<T> gradient = value <= 0 ? Lanes<T>{} : sums[pixel];
        store_lanes<whole>(to.gradient.data + (block + pixel) * to.gradient.pixel, gradient, count);
      }
    }
  }
}

// Without taps the gradient is zero.
template <typename X, typename Y, bool whole>
void zero_row(const Shape &, const PhaseRow<X> &to, const Field<const Y> &, const Compute<X> *, int64_t count) {
  for (int64_t pixel = 0; pixel < to.num_pixels; ++pixel) {
    store_lanes<whole>(to.gradient.data + pixel * to.gradient.pixel, Lanes<X>{}, count);
  }
}

// The instance for the taps of a phase: those of kernels 3, 5 and 7, or every other one of them.
template <typename X, typename Y, bool whole> auto input_gradient_row_for(const Phase &phase) {
  if (phase.move == 2) {
    return phase.count == 3   ? input_gradient_row<X, Y, whole, 3, 2>
           : phase.count == 5 ? input_gradient_row<X, Y, whole, 5, 2>
                              : input_gradient_row<X, Y, whole, 7, 2>;
  }
  switch (phase.count) {
  case 0:
    return zero_row<X, Y, whole>;
  case 1:
    return input_gradient_row<X, Y, whole, 1, 1>;
  case 2:
    return input_gradient_row<X, Y, whole, 2, 1>;
  case 3:
    return input_gradient_row<X, Y, whole, 3, 1>;
  case 4:
    return input_gradient_row<X, Y, whole, 4, 1>;
  case 5:
    return input_gradient_row<X, Y, whole, 5, 1>;
  default:
    return input_gradient_row<X, Y, whole, 7, 1>;
  }
}

template <typename X, typename Y, bool whole>
void input_gradient_tile(const Shape &s, const Tile &tile, const Input<X> &input, Field<const Y> y_gradient,
                         const Compute<X> *weights, const Field<X> &gradient) {
  y_gradient.data = row_of(y_gradient, tile, 0);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    for (int64_t column = 0; column < smaller(s.stride, s.width); ++column) {
      PhaseRow<X> to = {phase_of(s, row), phase_of(s, column), row, divide_up(s.width - column, s.stride), input,
                        gradient};
      to.input.x.data = row_of(input.x, tile, row) + column * input.x.pixel;
      to.input.x.pixel *= s.stride;
      to.input.scale += tile.channel;
      to.input.shift += tile.channel;
      to.gradient.data = row_of(gradient, tile, row) + column * gradient.pixel;
      to.gradient.pixel *= s.stride;
      const auto run = input_gradient_row_for<X, Y, whole>(to.horizontal);
      run(s, to, y_gradient, weights, live_lanes<X>(s, tile));
    }
  }
}

} // namespace
} // namespace pdarts::depthwise
