// Gradients, gathered: each input pixel takes its share of the windows that contain it, in row-major order. So nothing
// is written twice, and the sums are those of libtorch whatever the partition into tiles.
#pragma once
#include "block.h"
#include "taps.h"

namespace pdarts::pool {
namespace {

// The first of the windows that reach into a block, relative to the block's first column, and how many there are.
template <int stride> constexpr int kFirstWindow = stride - 2;
template <int stride> constexpr int kWindows = kPixels - kFirstWindow<stride> + 1;

// The last of the output's rows whose windows contain the input's `row`.
inline int64_t last_window_row(const Shape &s, int64_t row) { return smaller((row + 1) / s.stride, s.out_height - 1); }

// The windows' gradients go to their maxima.
template <typename T, int stride> class MaximumShares {
public:
  MaximumShares(const Block &block, const Field<const uint8_t> &taps) : block_(block), taps_(taps) {}

  struct Window {
    Lanes<T> gradient;
    Integers<T> column;

    void add_to(Lanes<T> &sum, int kernel_column) const { sum = column == kernel_column ? sum + gradient : sum; }
  };

  // The windows of one row of the output with regard to their taps in one row.
  struct Row {
    const uint8_t *taps;
    int64_t pixel_step;
    int first_tap;

    Window window(int index, Lanes<T> gradient) const {
      return {gradient, load_taps<T>(taps + index * pixel_step) - first_tap};
    }
  };

  Row row(int64_t row, int kernel_row) const {
    return {pixel_of(taps_, block_, row, block_.column + kFirstWindow<stride>), taps_.pixel, 3 * kernel_row};
  }

private:
  const Block &block_;
  const Field<const uint8_t> &taps_;
};

// The windows' gradients go to all their taps in equal parts.
template <typename T, int stride> class AverageShares {
public:
  AverageShares(const Shape &s, const Block &block) : height_(s.height) {
    for (int index = 0; index < kWindows<stride>; ++index) {
      columns_[index] = taps_inside(block.column + kFirstWindow<stride> + index, stride, s.width);
    }
  }

  struct Window {
    Lanes<T> share;

    void add_to(Lanes<T> &sum, int) const { sum += share; }
  };

  struct Row {
    const int64_t *columns;
    int64_t rows;

    Window window(int index, Lanes<T> gradient) const { return {gradient * kInverse<T>[rows * columns[index]]}; }
  };

  Row row(int64_t row, int) const { return {columns_, taps_inside(row, stride, height_)}; }

private:
  int64_t height_, columns_[kWindows<stride>]; // of taps in the image
};

// The block's pixels in one row of the input.
template <typename S, bool whole, int stride, class Shares>
void gradient_block(const Shape &s, const Block &block, int64_t row, const Shares shares,
                    const Field<const S> &y_gradient, const Field<S> &x_gradient) {
  constexpr int pixels = kPixels * stride, num_windows = kWindows<stride>;
  const int64_t first_window = block.column + kFirstWindow<stride>, count = block.num_channels;
  const uint32_t inside = mask_inside(first_window, num_windows, s.out_width);
  const int64_t last_row = last_window_row(s, row);
  Lanes<S> sums[pixels] = {};
  for (int64_t window_row = larger(row + stride - 2, 0) / stride; window_row <= last_row; ++window_row) {
    const S *from = pixel_of(y_gradient, block, window_row, first_window);
    const auto windows = shares.row(window_row, row - window_row * stride + 1);
#pragma GCC unroll 8
    for (int index = 0; index < num_windows; ++index, from += y_gradient.pixel) {
      if (inside >> index & 1) {
        const auto window = windows.window(index, load_lanes<whole>(from, count));
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
  S *to = pixel_of(x_gradient, block, row, block.column * stride);
#pragma GCC unroll 8
  for (int pixel = 0; pixel < pixels; ++pixel, to += x_gradient.pixel) {
    if (block.column * stride + pixel < s.width) {
      store_lanes<whole>(to, sums[pixel], count);
    }
  }
}

} // namespace
} // namespace pdarts::pool
