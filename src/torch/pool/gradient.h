// Gradients, gathered: each input pixel takes its share of the windows that contain it, in row-major order. So nothing
// is written twice, and the sums are those of libtorch whatever the partition into tiles.
#pragma once
#include "strip.h"
#include "taps.h"

namespace pdarts::pool {
namespace {

// The first of the windows that reach into a strip, relative to the strip's first column, and how many there are.
template <int stride> constexpr int kFirstWindow = stride - 2;
template <int stride> constexpr int kWindows = kPixels - kFirstWindow<stride> + 1;

// The windows' gradients go to their maxima.
template <typename T, int stride> class MaximumShares {
public:
  MaximumShares(const Strip &strip, const Field<const uint8_t> &taps)
      : taps_(column_of(taps, strip, strip.column + kFirstWindow<stride>)), row_(taps.row), pixel_(taps.pixel) {}

  struct Window {
    Lanes<T> gradient;
    Integers<T> column;

    void add_to(Lanes<T> &sum, int kernel_column) const { sum = column == kernel_column ? sum + gradient : sum; }
  };

  // What window `index` of the output's `row` gives to its own row `kernel_row`.
  Window window(int64_t row, int index, int kernel_row, Lanes<T> gradient) const {
    return {gradient, load_taps<T>(taps_ + row * row_ + index * pixel_) - 3 * kernel_row};
  }

private:
  const uint8_t *taps_;
  int64_t row_, pixel_;
};

// The windows' gradients go to all their taps in equal parts.
template <typename T, int stride> class AverageShares {
public:
  AverageShares(const Shape &s, const Strip &strip) : height_(s.height) {
    for (int index = 0; index < kWindows<stride>; ++index) {
      columns_[index] = larger(taps_inside(strip.column + kFirstWindow<stride> + index, stride, s.width), 0);
    }
  }

  struct Window {
    Lanes<T> share;

    void add_to(Lanes<T> &sum, int) const { sum += share; }
  };

  Window window(int64_t row, int index, int, Lanes<T> gradient) const {
    return {gradient * kInverse<T>[taps_inside(row, stride, height_) * columns_[index]]};
  }

private:
  int64_t height_, columns_[kWindows<stride>];
};

template <typename T, bool whole, int stride, class Shares>
void gradient_strip(const Shape &s, const Strip &strip, const Shares shares, const Field<const T> &y_gradient,
                    const Field<T> &x_gradient) {
  constexpr int pixels = kPixels * stride;
  const int64_t first_window = strip.column + kFirstWindow<stride>, count = strip.num_channels;
  const uint32_t inside = mask_inside(first_window, kWindows<stride>, s.out_width);
  const int64_t live_pixels = smaller(s.width - strip.column * stride, pixels);
  const T *windows = column_of(y_gradient, strip, first_window);
  const int64_t window_step = y_gradient.pixel, window_row_step = y_gradient.row;
  T *to = column_of(x_gradient, strip, strip.column * stride) + strip.tile.row_begin * x_gradient.row;
  const int64_t to_step = x_gradient.pixel;
  for (int64_t row = strip.tile.row_begin; row < strip.tile.row_end; ++row, to += x_gradient.row) {
    Lanes<T> sums[pixels] = {};
    const int64_t window_row_end = smaller((row + 1) / stride + 1, s.out_height);
    for (int64_t window_row = larger(row + stride - 2, 0) / stride; window_row < window_row_end; ++window_row) {
      const int kernel_row = row - window_row * stride + 1;
      const T *from = windows + window_row * window_row_step;
#pragma GCC unroll 8
      for (int index = 0; index < kWindows<stride>; ++index) {
        if (inside >> index & 1) {
          const auto gradient = load_lanes<whole>(from + index * window_step, count);
          const auto window = shares.window(window_row, index, kernel_row, gradient);
#pragma GCC unroll 4
          for (int kernel_column = 0; kernel_column < 3; ++kernel_column) {
            const int pixel = (index + kFirstWindow<stride>)*stride - 1 + kernel_column;
            if (pixel >= 0 && pixel < pixels) {
              window.add_to(sums[pixel], kernel_column);
            }
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int pixel = 0; pixel < pixels; ++pixel) {
      if (pixel < live_pixels) {
        store_lanes<whole>(to + pixel * to_step, sums[pixel], count);
      }
    }
  }
}

} // namespace
} // namespace pdarts::pool
