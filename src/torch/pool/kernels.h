// The CPU kernels of 3x3 pooling with padding 1, as one table of functions per instruction set.
//
// Each table comes from the same templates (table.h), compiled once per instruction set. As in
// ../depthwise/kernels.h, nothing here may include libtorch or the standard library's templates.
#pragma once
#include <cstdint>

#include "../field.h"
#include "../tables.h"

namespace pdarts::pool {

// Sizes of one call; the stride is 1 or 2.
struct Shape {
  int64_t images, channels, height, width, out_height, out_width, stride;
};

// What one call of a kernel computes: all channels of some rows of an image.
struct Tile {
  int64_t image, row_begin, row_end;
};

// The taps of a window count 0 to 8 in row-major order. The field of taps has the output's sizes, but its channels are
// rounded up to whole blocks of `lanes`. Values stored as S are computed with as Compute<S>, and rounded once.
template <typename S> struct Kernels {
  int64_t lanes;
  // The maxima and, unless `taps` has no data, where in its window each of them stands first; NaN is a maximum, and the
  // last one counts. The tile's rows count in the output.
  void (*max)(const Shape &shape, const Tile &tile, Field<const S> x, Field<S> y, Field<uint8_t> taps);
  // The tile's rows count in the input.
  void (*max_gradient)(const Shape &shape, const Tile &tile, Field<const uint8_t> taps, Field<const S> y_gradient,
                       Field<S> x_gradient);
  // The averages of what lies in the image. The tile's rows count in the output.
  void (*average)(const Shape &shape, const Tile &tile, Field<const S> x, Field<S> y);
  // The tile's rows count in the input.
  void (*average_gradient)(const Shape &shape, const Tile &tile, Field<const S> y_gradient, Field<S> x_gradient);
};

PDARTS_DECLARE_TABLES(PDARTS_STORAGE_TABLES)

} // namespace pdarts::pool
