// What all kernels share. They walk down strips: one block of channels of a few columns side by side, which stay in
// registers together. Columns outside of the image have no bit in a strip's mask.
#pragma once
#include "../lanes.h"
#include "kernels.h"

namespace pdarts::pool {
namespace {

// Output pixels of a strip side by side.
constexpr int kPixels = kNumRegisters == 32 ? 4 : 2;

// One strip of a tile: the output columns [column, column + kPixels), the input columns [column * stride,
// (column + kPixels) * stride).
struct Strip {
  Tile tile;
  int64_t column, channel, num_channels;
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Where a field's `column` begins in row 0 of the strip's image and block of channels.
template <typename T> inline T *column_of(const Field<T> &field, const Strip &strip, int64_t column) {
  return field.data + strip.tile.image * field.image + column * field.pixel + strip.channel;
}

// The taps that the window at `position` has in an image of `size`, along one axis; not positive outside of the output.
inline int64_t taps_inside(int64_t position, int64_t stride, int64_t size) {
  return smaller(position * stride + 2, size) - larger(position * stride - 1, 0);
}

// 1 / number of taps: a product with it where a division would take as long as everything else.
template <typename T>
constexpr T kInverse[] = {0, T(1), T(1) / 2, T(1) / 3, T(1) / 4, T(1) / 5, T(1) / 6, T(1) / 7, T(1) / 8, T(1) / 9};

// Bit `index` says whether column `first + index`, one of `columns`, is inside of an image of `width`.
inline uint32_t mask_inside(int64_t first, int columns, int64_t width) {
  const int64_t begin = larger(-first, 0), end = smaller(width - first, columns);
  return (uint32_t(1) << end) - (uint32_t(1) << begin);
}

} // namespace
} // namespace pdarts::pool
