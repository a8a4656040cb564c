// The depthwise half of the GPU kernels: its result at the pixels that a thread computes together.
#pragma once
#include "cuda_patch.h"

namespace pdarts::separable {

// The convolution's input is the ReLU of scale * x + shift, of x itself where both are null.
template <typename S> struct CudaInput {
  using T = Compute<S>;
  const S *x;
  const T *scale, *shift;
};

// NaN stays NaN.
template <typename T> __device__ __forceinline__ T relu(T value) { return value < 0 ? T(0) : value; }
#ifdef __CUDACC__
// In one instruction.
template <> __device__ __forceinline__ float relu<float>(float value) {
  float result;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(value));
  return result;
}
#endif

// Calls `body(transform)` with what makes the convolution's input, transform(value, part), of V channels from `channel` on.
template <typename S, int V, typename Body>
__device__ __forceinline__ void with_transform(const CudaInput<S> &input, int channel, const Body &body) {
  using T = Compute<S>;
  if (input.scale) {
    T scale[V], shift[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      scale[part] = input.scale[channel + part];
      shift[part] = input.shift[channel + part];
    }
    body([&](T value, int part) { return relu(value * scale[part] + shift[part]); });
  } else {
    body([](T value, int) { return relu(value); });
  }
}

// Adds the depthwise convolution at the output pixels that a thread computes together, from `pixel` on, of the V middle channels from
// `middle` on; at those that are none it means nothing. `weights`: those channels' of tap 0; those of the next are `step` elements on.
template <typename S, typename W, int V>
__device__ __forceinline__ void depthwise(const CudaShape &s, const CudaInput<S> &input, const Pixel &pixel, int middle,
                                          const Compute<S> *weights, int step,
                                          Compute<S> (&sums)[kTogether<W::kReading>][V]) {
  using T = Compute<S>;
  const int channel = middle % s.channels;
  const S *image = input.x + pixel.image * s.height * s.width * s.channels + channel;
  with_transform<S, V>(input, channel, [&](const auto &transform) {
    if constexpr (W::kReading == Reading::kPatches) {
      convolve_patch<W>(image, s.channels, s.height, s.width, pixel, transform, weights, step, sums);
    } else if constexpr (W::kReading == Reading::kUneven) {
#pragma unroll 1
      for (int kernel_row = 0; kernel_row < W::K; ++kernel_row) {
        const int row = pixel.row * W::kStride - W::kPadding + kernel_row * W::D;
        if (row >= 0 && row < s.height) {
          T values[W::kColumns][V];
          read_row<W, V>(image + row * s.width * s.channels, s.channels, pixel.column, s.width, transform, values);
          add_row<W, V>(values, weights + kernel_row * W::K * step, step, sums);
        }
      }
    } else {
      for_each_tap<W::K, V>(s, image, pixel, transform, [&](int tap, const T (&values)[V]) {
#pragma unroll
        for (int part = 0; part < V; ++part) {
          sums[0][part] += values[part] * weights[tap * step + part];
        }
      });
    }
  });
}

} // namespace pdarts::separable
