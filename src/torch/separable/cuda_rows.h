// Rows of what a window reads for adjacent pixels.
#pragma once
#include "cuda_window.h"

namespace pdarts::separable {

// N columns of a row, each `dilation`-th from `first` on, as `transform` gives them, and 0 outside of the row. `from`: the row's column
// 0; columns are `step` elements apart.
template <int N, int V, typename S, typename Transform>
__device__ __forceinline__ void read_columns(const S *from, int step, int first, int dilation, int width,
                                             const Transform &transform, Compute<S> (&values)[N][V]) {
  // All are read before any is looked at.
#pragma unroll
  for (int index = 0; index < N; ++index) {
    const int column = first + index * dilation;
    const bool is_inside = column >= 0 && column < width;
    cuda::load<S, V>(from + (is_inside ? column : 0) * step, values[index]);
#pragma unroll
    for (int part = 0; part < V; ++part) {
      const Compute<S> value = transform(values[index][part], part);
      values[index][part] = is_inside ? value : Compute<S>(0);
    }
  }
}

// Calls `meet(tap, values)` for each tap of the kernel at an output pixel that reads in a row of the image, with the V channels that it
// reads as `transform` gives them. `image`: the channels at its first pixel.
template <int K, int V, typename S, typename Transform, typename Meet>
__device__ __forceinline__ void for_each_tap(const CudaShape &s, const S *image, const Pixel &pixel, const Transform &transform,
                                             const Meet &meet) {
  const int padding = s.dilation * (K - 1) / 2;
  const int first_row = pixel.row * s.stride - padding, first_column = pixel.column * s.stride - padding;
#pragma unroll
  for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
    const int row = first_row + kernel_row * s.dilation;
    if (row < 0 || row >= s.height) {
      continue;
    }
    Compute<S> values[K][V];
    read_columns(image + row * s.width * s.channels, s.channels, first_column, s.dilation, s.width, transform, values);
#pragma unroll
    for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
      meet(kernel_row * K + kernel_column, values[kernel_column]);
    }
  }
}

// N columns of a row, each kStep-th from kBefore columns before `column` on, as `transform` gives them, and 0 outside of the row.
// `from`: the row's column 0; columns are `step` elements apart. `column` is in the row, either its first or not less than kBefore;
// unless kIsUneven, so are kAdjacent from there on, and those behind them altogether or not at all.
template <int N, int kStep, int kBefore, bool kIsUneven, int V, typename S, typename Transform>
__device__ __forceinline__ void read_row(const S *from, int step, int column, int width, const Transform &transform,
                                         Compute<S> (&values)[N][V]) {
  const bool has_left = column > 0;
  const int right = width - column;
  const auto is_inside = [&](int index) {
    const int distance = index * kStep - kBefore, certain = kIsUneven ? 1 : kAdjacent;
    return distance < 0 ? has_left : distance < certain || right > (kIsUneven ? distance : kAdjacent);
  };
  const S *at = from + (column - kBefore) * step;
  // All are read before any is looked at.
#pragma unroll
  for (int index = 0; index < N; ++index) {
    cuda::load<S, V>(is_inside(index) ? at + index * kStep * step : from, values[index]);
  }
#pragma unroll
  for (int index = 0; index < N; ++index) {
#pragma unroll
    for (int part = 0; part < V; ++part) {
      values[index][part] = is_inside(index) ? transform(values[index][part], part) : Compute<S>(0);
    }
  }
}

// The columns that a kernel row reads for adjacent outputs from column `column` of theirs on.
template <typename W, int V, typename S, typename Transform>
__device__ __forceinline__ void read_row(const S *from, int step, int column, int width, const Transform &transform,
                                         Compute<S> (&values)[W::kColumns][V]) {
  static_assert(W::kPadding <= kAdjacent * W::kStride);
  constexpr bool kIsUneven = W::kReading == Reading::kUneven;
  read_row<W::kColumns, W::kStep, W::kPadding, kIsUneven, V>(from, step, column * W::kStride, width, transform, values);
}

// Adds a kernel row to the sums of adjacent outputs. `weights`: of its first tap; of the next `step` elements on, which may be
// backwards.
template <typename W, int V, typename T>
__device__ __forceinline__ void add_row(const T (&values)[W::kColumns][V], const T *weights, int step,
                                        T (&sums)[kAdjacent][V]) {
#pragma unroll
  for (int tap = 0; tap < W::K; ++tap) {
    T weight[V];
    cuda::load<T, V>(weights + tap * step, weight);
#pragma unroll
    for (int pixel = 0; pixel < kAdjacent; ++pixel) {
#pragma unroll
      for (int part = 0; part < V; ++part) {
        sums[pixel][part] += values[W::column(pixel, tap)][part] * weight[part];
      }
    }
  }
}

} // namespace pdarts::separable
