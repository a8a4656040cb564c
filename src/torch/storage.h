// The types that activations are stored in, and those that kernels compute in.
//
// As the kernels' own headers, this one may include neither libtorch nor the standard library's templates.
#pragma once
#include <cstdint>

namespace pdarts {

// The upper half of a float: its sign, exponent and first 7 bits of the fraction.
struct BFloat16 {
  uint16_t bits;
};

template <typename S> struct Computed {
  typedef S Type;
};
template <> struct Computed<BFloat16> {
  typedef float Type;
};

// What values stored as S are computed with; weights, sums and scratch are stored as this.
template <typename S> using Compute = typename Computed<S>::Type;

} // namespace pdarts
