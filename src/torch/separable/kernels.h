// The CPU kernels of pointwise convolutions, as one table of functions per instruction set.
//
// Each table comes from the same templates (table.h), compiled once per instruction set. As in ../depthwise/kernels.h,
// nothing here may include libtorch or the standard library's templates.
#pragma once
#include "../channelwise/kernels.h"

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

#define PDARTS_SEPARABLE_DECLARE(instruction_set)                                                                      \
  namespace instruction_set {                                                                                          \
  extern const Kernels<float> float_kernels;                                                                           \
  extern const Kernels<double> double_kernels;                                                                         \
  extern const Kernels<BFloat16> bfloat16_kernels;                                                                     \
  }
PDARTS_SEPARABLE_DECLARE(baseline)
PDARTS_SEPARABLE_DECLARE(avx2)
PDARTS_SEPARABLE_DECLARE(avx512)
#undef PDARTS_SEPARABLE_DECLARE

} // namespace pdarts::separable
