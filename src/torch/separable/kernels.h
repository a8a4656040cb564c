// The CPU kernels of pointwise convolutions, as one table of functions per instruction set.
//
// Each table comes from the same templates (table.h), compiled once per instruction set. As in ../depthwise/kernels.h,
// nothing here may include libtorch or the standard library's templates.
#pragma once
#include "../channelwise/kernels.h"
#include "../tables.h"

namespace pdarts::separable {

using channelwise::Pixels;

// Y is the type that `y` is stored in.
//
// y[pixel][o] = sum over i of x[pixel][i] * weights[i][o]; rows of `weights` are filled up with zeros to whole registers.
template <typename Y> struct Product {
  int64_t pixels, inputs, outputs;
  Pixels<const Compute<Y>> x;
  const Compute<Y> *weights;
  Pixels<Y> y;
};

// sums[o][i] += sum over pixels of gradient[pixel][o] * x[pixel][i]. Rows of `sums` are filled up to whole registers, with
// whatever follows the inputs in `x`, which must be memory of the same array.
template <typename T> struct OuterProduct {
  int64_t pixels, inputs, outputs;
  Pixels<const T> x, gradient;
  T *sums;
};

// For outputs stored as Y.
template <typename Y> struct Kernels {
  // Channels of a register.
  int64_t lanes;
  void (*multiply)(const Product<Y> &product);
  void (*add_outer_product)(const OuterProduct<Compute<Y>> &product);
};

PDARTS_DECLARE_TABLES(PDARTS_STORAGE_TABLES)

} // namespace pdarts::separable
