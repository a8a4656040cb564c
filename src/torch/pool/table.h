// The table of kernels.h for the instruction set that this file is compiled for.
#pragma once
#include "forward.h"
#include "gradient.h"

namespace pdarts::pool {
namespace {

// Calls `run<whole, stride>(strip)` with every strip of a tile, where `whole` says that its channels fill a register.
// Double precision is for checks: there the instances that take any number of channels serve whole blocks too.
template <typename T, int stride, typename Run>
void for_each_strip_at(const Shape &s, const Tile &tile, const Run &run) {
  for (int64_t channel = 0; channel < s.channels; channel += kLanes<T>) {
    const int64_t num_channels = smaller(kLanes<T>, s.channels - channel);
    for (int64_t column = 0; column < s.out_width; column += kPixels) {
      const Strip strip{tile, column, channel, num_channels};
      if (sizeof(T) == sizeof(float) && num_channels == kLanes<T>) {
        run.template operator()<sizeof(T) == sizeof(float), stride>(strip);
      } else {
        run.template operator()<false, stride>(strip);
      }
    }
  }
}

template <typename T, typename Run> void for_each_strip(const Shape &s, const Tile &tile, const Run &run) {
  if (s.stride == 1) {
    for_each_strip_at<T, 1>(s, tile, run);
  } else {
    for_each_strip_at<T, 2>(s, tile, run);
  }
}

template <typename T, template <typename> class Reduction>
void forward(const Shape &s, const Tile &tile, const Field<const T> &x, const Field<T> &y, const Field<uint8_t> &taps) {
  for_each_strip<T>(s, tile, [&]<bool whole, int stride>(const Strip &strip) {
    forward_strip<T, Reduction<T>, whole, stride>(s, strip, x, y, taps);
  });
}

template <typename T>
void max(const Shape &s, const Tile &tile, Field<const T> x, Field<T> y, Field<uint8_t> taps) {
  const auto run = taps.data ? forward<T, FirstMaximum> : forward<T, Maximum>;
  run(s, tile, x, y, taps);
}

template <typename T>
void max_gradient(const Shape &s, const Tile &tile, Field<const uint8_t> taps, Field<const T> y_gradient,
                  Field<T> x_gradient) {
  for_each_strip<T>(s, tile, [&]<bool whole, int stride>(const Strip &strip) {
    gradient_strip<T, whole, stride>(s, strip, MaximumShares<T, stride>(strip, taps), y_gradient, x_gradient);
  });
}

template <typename T> void average(const Shape &s, const Tile &tile, Field<const T> x, Field<T> y) {
  forward<T, Average>(s, tile, x, y, {});
}

template <typename T>
void average_gradient(const Shape &s, const Tile &tile, Field<const T> y_gradient, Field<T> x_gradient) {
  for_each_strip<T>(s, tile, [&]<bool whole, int stride>(const Strip &strip) {
    gradient_strip<T, whole, stride>(s, strip, AverageShares<T, stride>(s, strip), y_gradient, x_gradient);
  });
}

template <typename T>
constexpr Kernels<T> kKernels = {kLanes<T>, max<T>, max_gradient<T>, average<T>, average_gradient<T>};

} // namespace
} // namespace pdarts::pool

// Defines the tables of one instruction set.
#define PDARTS_POOL_DEFINE(instruction_set)                                                                            \
  namespace pdarts::pool::instruction_set {                                                                            \
  extern const Kernels<float> float_kernels = kKernels<float>;                                                         \
  extern const Kernels<double> double_kernels = kKernels<double>;                                                      \
  }
