// What all kernels share: arithmetic on sizes and positions.
#pragma once
#include "kernels.h"
#include "../lanes.h"
#include "../sizes.h"

namespace pdarts::depthwise {
namespace {

// Pixels that an inner loop computes at once, at most.
constexpr int kMaxPixels = 8;

// floor(value / step), the same rounded up, and the remainder for a step of 1 or 2. Divisions would take as long as a
// short row.
inline int64_t divide_down(int64_t value, int64_t step) { return value >> (step - 1); }
inline int64_t divide_up(int64_t value, int64_t step) { return (value + step - 1) >> (step - 1); }
inline int64_t remainder(int64_t value, int64_t step) { return value & (step - 1); }

inline int64_t taps(const Shape &s) { return s.kernel * s.kernel; }

// The first channel of the tile in the first pixel of `row`.
template <typename T> inline T *row_of(const Field<T> &field, const Tile &tile, int64_t row) {
  return field.data + tile.image * field.image + row * field.row + tile.channel;
}

// The lanes of a tile that are channels.
template <typename T> inline int64_t live_lanes(const Shape &s, const Tile &tile) {
  return smaller(kLanes<T>, s.channels - tile.channel);
}

} // namespace
} // namespace pdarts::depthwise
