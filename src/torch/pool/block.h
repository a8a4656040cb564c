// What all kernels share. They compute an image in blocks: a few pixels side by side and as many channels as a register
// has lanes. Columns outside of the image have no bit in a block's mask.
#pragma once
#include "../lanes.h"
#include "../sizes.h"
#include "kernels.h"

namespace pdarts::pool {
namespace {

// Output pixels of a block side by side.
constexpr int kPixels = kNumRegisters == 32 ? 4 : 2;

// The output columns [column, column + kPixels) of an image, the input columns [column * stride, (column + kPixels) *
// stride).
struct Block {
  int64_t image, column, channel, num_channels;
};

inline int64_t divide_up(int64_t value, int64_t step) { return (value + step - 1) / step; }

// The block's channels in a pixel of its image.
template <typename T> inline T *pixel_of(const Field<T> &field, const Block &block, int64_t row, int64_t column) {
  return field.data + block.image * field.image + row * field.row + column * field.pixel + block.channel;
}

// The taps that the window at `position` has in an image of `size`, along one axis.
inline int64_t taps_inside(int64_t position, int64_t stride, int64_t size) {
  return 1 + (position > 0) + (position * stride + 1 < size);
}

// 1 / number of taps: a product with it where a division would take as long as everything else.
template <typename T>
constexpr T kInverse[] = {0, T(1), T(1) / 2, T(1) / 3, T(1) / 4, T(1) / 5, T(1) / 6, T(1) / 7, T(1) / 8, T(1) / 9};

// Bit `index` says whether column `first + index`, one of `columns`, is inside of an image of `width`.
inline uint32_t mask_inside(int64_t first, int columns, int64_t width) {
  const int64_t begin = larger(-first, 0), end = smaller(width - first, columns);
  return (uint32_t(1) << end) - (uint32_t(1) << begin);
}

// Rows that will be read next. A processor does not foresee the order in which blocks read them: each block that is
// computed before them asks for its share. Behind an image's last row that is the next image, or nothing that is read.
class RowsAhead {
public:
  template <typename T>
  RowsAhead(const Field<T> &field, int64_t image, int64_t row, int64_t num_rows)
      : begin_(reinterpret_cast<const char *>(field.data + image * field.image + row * field.row)),
        bytes_(num_rows * field.row * sizeof(T)) {}

  // GCC removes calls of functions that only prefetch.
  __attribute__((always_inline)) void fetch_share(int64_t index, int64_t num_shares) const {
    const int64_t end = (index + 1) * bytes_ / num_shares;
    for (int64_t byte = index * bytes_ / num_shares; byte < end; byte += kCacheLine) {
      __builtin_prefetch(begin_ + byte, 0, 2);
    }
  }

private:
  static constexpr int64_t kCacheLine = 64;
  const char *begin_;
  int64_t bytes_;
};

} // namespace
} // namespace pdarts::pool
