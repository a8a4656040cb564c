// The table of kernels.h for the instruction set that this file is compiled for.
#pragma once
#include "forward.h"
#include "input_gradient.h"
#include "weight_gradient.h"

namespace pdarts::depthwise {
namespace {

// Double precision is for checks: there the instances that take any number of channels serve whole blocks too.
template <typename X> constexpr bool kHasWhole = sizeof(Compute<X>) == sizeof(float);

template <typename X> bool is_whole(const Shape &s, const Tile &tile) {
  return kHasWhole<X> && live_lanes<X>(s, tile) == kLanes<X>;
}

template <typename X, typename Y>
void forward(const Shape &s, const Tile &tile, Input<X> input, const Compute<X> *weights, Field<Y> y,
             Compute<X> *scratch) {
  if (is_whole<X>(s, tile)) {
    forward_tile<X, Y, kHasWhole<X>>(s, tile, input, weights, y, scratch);
  } else {
    forward_tile<X, Y, false>(s, tile, input, weights, y, scratch);
  }
}

template <typename X, typename Y>
void input_gradient(const Shape &s, const Tile &tile, Input<X> input, Field<const Y> y_gradient,
                    const Compute<X> *weights, Field<X> gradient) {
  if (is_whole<X>(s, tile)) {
    input_gradient_tile<X, Y, kHasWhole<X>>(s, tile, input, y_gradient, weights, gradient);
  } else {
    input_gradient_tile<X, Y, false>(s, tile, input, y_gradient, weights, gradient);
  }
}

template <typename X, typename Y>
void weight_gradient(const Shape &s, const Tile &tile, Input<X> input, Field<const Y> y_gradient,
                     Compute<X> *weight_gradient, Compute<X> *scratch) {
  if (is_whole<X>(s, tile)) {
    weight_gradient_tile<X, Y, kHasWhole<X>>(s, tile, input, y_gradient, weight_gradient, scratch);
  } else {
    weight_gradient_tile<X, Y, false>(s, tile, input, y_gradient, weight_gradient, scratch);
  }
}

template <typename X, typename Y = X>
constexpr Kernels<X, Y> kKernels = {kLanes<X>, input_scratch<Compute<X>>, forward<X, Y>, input_gradient<X, Y>,
                                    weight_gradient<X, Y>};

} // namespace
} // namespace pdarts::depthwise
