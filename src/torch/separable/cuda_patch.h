// Patches of pixels at stride 1: each value is read once for all rows of the patch and of the kernel that meet it.
#pragma once
#include "cuda_rows.h"

namespace pdarts::separable {

// Calls `take(index, values)` with each row that a window reads of one channel for the patch at `pixel`, from kPadding rows before it
// on: its columns as `transform` gives them, 0 outside of the image. Rows outside of it are left out. `image`: the channel at its first
// pixel; columns are `step` elements apart. `height` and `width` are whole patches.
template <typename W, typename S, typename Transform, typename Take>
__device__ __forceinline__ void for_each_row(const S *image, int step, int height, int width, const Pixel &pixel,
                                             const Transform &transform, const Take &take) {
  static_assert(W::kPadding <= kPatchRows && W::kPadding <= kAdjacent);
  const auto take_rows = [&](int begin, int end) {
#pragma unroll
    for (int index = begin; index < end; ++index) {
      Compute<S> values[W::kColumns][1];
      read_row<W, 1>(image + (pixel.row - W::kPadding + index) * width * step, step, pixel.column, width, transform, values);
      take(index, values);
    }
  };
  constexpr int kBelow = W::kPadding + kPatchRows;
  if (pixel.row > 0) {
    take_rows(0, W::kPadding);
  }
  take_rows(W::kPadding, kBelow);
  if (pixel.row + kPatchRows < height) {
    take_rows(kBelow, kBelow + W::kPadding);
  }
}

// Calls `meet(pixel, tap, value)` for each value of a row that for_each_row gave and each pixel of the patch that multiplies it with a tap.
template <typename W, typename T, typename Meet>
__device__ __forceinline__ void meet_taps(int index, const T (&values)[W::kColumns][1], const Meet &meet) {
#pragma unroll
  for (int kernel_row = 0; kernel_row < W::K; ++kernel_row) {
    const int row = index - kernel_row * W::D;
    if (row >= 0 && row < kPatchRows) {
#pragma unroll
      for (int tap = 0; tap < W::K; ++tap) {
#pragma unroll
        for (int column = 0; column < kAdjacent; ++column) {
          meet(row * kAdjacent + column, kernel_row * W::K + tap, values[W::column(column, tap)][0]);
        }
      }
    }
  }
}

// Adds the convolution with one channel's kernel at the patch's pixels to `sums`. `weights`: of the first tap; those of the next are
// `step_of_weights` elements on, which may be backwards.
template <typename W, typename S, typename Transform>
__device__ __forceinline__ void convolve_patch(const S *image, int step, int height, int width, const Pixel &pixel,
                                               const Transform &transform, const Compute<S> *weights, int step_of_weights,
                                               Compute<S> (&sums)[kPatch][1]) {
  using T = Compute<S>;
  T of_tap[W::K * W::K];
#pragma unroll
  for (int tap = 0; tap < W::K * W::K; ++tap) {
    of_tap[tap] = weights[tap * step_of_weights];
  }
  for_each_row<W>(image, step, height, width, pixel, transform, [&](int index, const T (&values)[W::kColumns][1]) {
    meet_taps<W>(index, values, [&](int of, int tap, T value) { sums[of][0] += value * of_tap[tap]; });
  });
}

} // namespace pdarts::separable
