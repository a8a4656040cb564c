// Activations as rows of pixels. As the kernels' own headers, this one may include neither libtorch nor the standard
// library's templates.
#pragma once
#include <cstdint>

namespace pdarts {

// A tensor [N, C, H, W] whose channels are adjacent in memory; the strides count elements.
template <typename T> struct Field {
  T *data;
  int64_t image, row, pixel;
};

} // namespace pdarts
