// The table of kernels.h for the instruction set that this file is compiled for.
#pragma once
#include "forward.h"
#include "input_gradient.h"
#include "weight_gradient.h"

namespace pdarts::depthwise {
namespace {

// Double precision is for checks: there the instances that take any number of channels serve whole blocks too.
template <typename T> bool is_whole(const Shape &s, const Tile &tile) {
  return sizeof(T) == sizeof(float) && live_lanes<T>(s, tile) == kLanes<T>;
}

template <typename T>
void forward(const Shape &s, const Tile &tile, Input<T> input, const T *weights, Field<T> y, T *scratch) {
  if (is_whole<T>(s, tile)) {
    forward_tile<T, sizeof(T) == sizeof(float)>(s, tile, input, weights, y, scratch);
  } else {
    forward_tile<T, false>(s, tile, input, weights, y, scratch);
  }
}

template <typename T>
void input_gradient(const Shape &s, const Tile &tile, Input<T> input, Field<const T> y_gradient, const T *weights,
                    Field<T> gradient) {
  if (is_whole<T>(s, tile)) {
    input_gradient_tile<T, sizeof(T) == sizeof(float)>(s, tile, input, y_gradient, weights, gradient);
  } else {
    input_gradient_tile<T, false>(s, tile, input, y_gradient, weights, gradient);
  }
}

template <typename T>
void weight_gradient(const Shape &s, const Tile &tile, Input<T> input, Field<const T> y_gradient, T *weight_gradient,
                     T *scratch) {
  if (is_whole<T>(s, tile)) {
    weight_gradient_tile<T, sizeof(T) == sizeof(float)>(s, tile, input, y_gradient, weight_gradient, scratch);
  } else {
    weight_gradient_tile<T, false>(s, tile, input, y_gradient, weight_gradient, scratch);
  }
}

template <typename T>
constexpr Kernels<T> kKernels = {kLanes<T>, input_scratch<T>, forward<T>, input_gradient<T>, weight_gradient<T>};

} // namespace
} // namespace pdarts::depthwise

// Defines the tables of one instruction set.
#define PDARTS_DEPTHWISE_DEFINE(instruction_set)                                                                       \
  namespace pdarts::depthwise::instruction_set {                                                                       \
  extern const Kernels<float> float_kernels = kKernels<float>;                                                         \
  extern const Kernels<double> double_kernels = kKernels<double>;                                                      \
  }
