// Maxima and averages. A block goes down its image and keeps in registers what its windows want of three input rows, of
// which the next windows want one or two again.
#pragma once
#include "block.h"
#include "taps.h"

namespace pdarts::pool {
namespace {

// The maximum of a part of a window.
template <typename T> struct Maximum {
  static constexpr T kNothing = -__builtin_inf(); // what lies outside of the image
  static constexpr bool kHasTap = false;
  Lanes<T> value;

  static Maximum of(Lanes<T> value, int) { return {value}; }

  // NaN is a maximum, as in libtorch.
  void add(const Maximum &later, int) {
    value = later.value > value ? later.value : value;
    value = later.value != later.value ? later.value : value;
  }

  // Of a window with so many taps in the image.
  Lanes<T> result(int64_t) const { return value; }
};

// The same with the tap where it stands first.
template <typename T> struct FirstMaximum {
  static constexpr T kNothing = -__builtin_inf();
  static constexpr bool kHasTap = true;
  Lanes<T> value;
  Integers<T> tap;

  static FirstMaximum of(Lanes<T> value, int tap) { return {value, Integers<T>{} + tap}; }

  // The taps of `later` count from `offset`.
  void add(const FirstMaximum &later, int offset) {
    const auto is_larger = (later.value > value) | (later.value != later.value);
    value = is_larger ? later.value : value;
    tap = is_larger ? later.tap + offset : tap;
  }

  Lanes<T> result(int64_t) const { return value; }
};

// The sum of a part of a window.
template <typename T> struct Average {
  static constexpr T kNothing = 0;
  static constexpr bool kHasTap = false;
  Lanes<T> sum;

  static Average of(Lanes<T> value, int) { return {value}; }
  void add(const Average &later, int) { sum += later.sum; }
  Lanes<T> result(int64_t num_taps) const { return sum * kInverse<T>[num_taps]; }
};

// What the windows of a block want of one input row; `from` is in the column of the first window's first tap.
template <typename S, class Part, bool whole, int stride>
inline void reduce_row(const S *from, int64_t pixel_step, int64_t count, uint32_t inside, Part (&parts)[kPixels]) {
  constexpr int columns = (kPixels - 1) * stride + 3;
  Lanes<S> values[columns];
#pragma GCC unroll 16
  for (int column = 0; column < columns; ++column) {
    const bool is_inside = inside >> column & 1;
    values[column] = is_inside ? load_lanes<whole>(from + column * pixel_step, count) : Lanes<S>{} + Part::kNothing;
  }
#pragma GCC unroll 4
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    // The tap is one in the image even where all values are as small as what lies outside.
    parts[pixel] = Part::of(values[pixel * stride], inside >> pixel * stride & 1 ? 0 : 1);
    parts[pixel].add(Part::of(values[pixel * stride + 1], 1), 0);
    parts[pixel].add(Part::of(values[pixel * stride + 2], 2), 0);
  }
}

// The block's pixels in all rows of the tile.
template <typename S, class Part, bool whole, int stride>
void forward_block(const Shape &s, const Tile &tile, const Block &block, const Field<const S> &x, const Field<S> &y,
                   const Field<uint8_t> &taps) {
  constexpr int kept = 3 - stride; // input rows that a window shares with the next one
  const int64_t first_column = block.column * stride - 1, count = block.num_channels;
  const uint32_t inside = mask_inside(first_column, (kPixels - 1) * stride + 3, s.width);
  const S *from = pixel_of(x, block, 0, first_column);
  const int64_t row_step = x.row, pixel_step = x.pixel, live_pixels = smaller(s.out_width - block.column, kPixels);
  Part rows[3][kPixels];
  const auto reduce = [&](int64_t row, Part(&parts)[kPixels]) {
    if (row >= 0 && row < s.height) {
      return reduce_row<S, Part, whole, stride>(from + row * row_step, pixel_step, count, inside, parts);
    }
#pragma GCC unroll 4
    for (int pixel = 0; pixel < kPixels; ++pixel) {
      // The first tap that may count is in the row below.
      parts[pixel] = Part::of(Lanes<S>{} + Part::kNothing, inside >> pixel * stride & 1 ? 3 : 4);
    }
  };
#pragma GCC unroll 2
  for (int k = 0; k < kept; ++k) {
    reduce(tile.row_begin * stride - 1 + k, rows[k]);
  }
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
#pragma GCC unroll 2
    for (int k = kept; k < 3; ++k) {
      reduce(row * stride - 1 + k, rows[k]);
    }
    S *to = pixel_of(y, block, row, block.column);
    const int64_t rows_inside = taps_inside(row, stride, s.height);
#pragma GCC unroll 4
    for (int pixel = 0; pixel < kPixels; ++pixel) {
      Part window = rows[0][pixel];
      window.add(rows[1][pixel], 3);
      window.add(rows[2][pixel], 6);
      if (pixel < live_pixels) {
        const int64_t num_taps = rows_inside * taps_inside(block.column + pixel, stride, s.width);
        store_lanes<whole>(to + pixel * y.pixel, window.result(num_taps), count);
        if constexpr (Part::kHasTap) {
          store_taps<Compute<S>>(pixel_of(taps, block, row, block.column + pixel), window.tap);
        }
      }
    }
#pragma GCC unroll 2
    for (int k = 0; k < kept; ++k) {
#pragma GCC unroll 4
      for (int pixel = 0; pixel < kPixels; ++pixel) {
        rows[k][pixel] = rows[k + stride][pixel];
      }
    }
  }
}

} // namespace
} // namespace pdarts::pool
