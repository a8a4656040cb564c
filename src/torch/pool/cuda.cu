// The kernels of cuda.h: a thread for a vector of adjacent channels of a pixel. Gradients are gathered: each input pixel looks at
// the windows that it lies in.
#include "cuda.h"

#include "../cuda/vector.h"

namespace pdarts::pool {
namespace {

using cuda::load;
using cuda::store;

constexpr int kThreads = 256;

// Sizes as the kernels walk over them; pixels of whichever side a thread writes.
struct Walk {
  int vectors, height, width, other_height, other_width, stride;
  int64_t count; // of threads
};

// A thread's place.
struct Place {
  bool is_inside;
  int vector, column, row;
  int64_t image;

  __device__ __forceinline__ explicit Place(const Walk &walk) {
    const int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    is_inside = index < walk.count;
    int64_t rest = index / walk.vectors;
    vector = int(index - rest * walk.vectors);
    column = int(rest % walk.width);
    rest /= walk.width;
    row = int(rest % walk.height);
    image = rest / walk.height;
  }
};

// The vector of `field` [images, height, width, vectors] at a place.
template <int V, typename T>
__device__ __forceinline__ T *at(T *field, const Walk &walk, int64_t image, int row, int column, int height, int width,
                                 int vector) {
  return field + (((image * height + row) * width + column) * walk.vectors + vector) * V;
}

// The taps that a window at `position` has in an image of `size`, along one axis.
__device__ __forceinline__ int taps_inside(int position, int stride, int size) {
  return 1 + (position > 0) + (position * stride + 1 < size);
}

// Calls `visit(row, column, tap)` for the pixels of the window at `place` that lie in the image.
template <typename Visit> __device__ __forceinline__ void for_each_tap(const Walk &walk, const Place &place, const Visit &visit) {
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const int row = place.row * walk.stride + tap / 3 - 1, column = place.column * walk.stride + tap % 3 - 1;
    if (row >= 0 && row < walk.other_height && column >= 0 && column < walk.other_width) {
      visit(row, column, tap);
    }
  }
}

// Calls `visit(row, column, tap)` for the windows that the pixel at `place` lies in, of which it is tap number `tap`.
template <typename Visit>
__device__ __forceinline__ void for_each_window(const Walk &walk, const Place &place, const Visit &visit) {
#pragma unroll
  for (int position = 8; position >= 0; --position) {
    const int row_tap = position / 3, column_tap = position % 3;
    const int row = place.row + 1 - row_tap, column = place.column + 1 - column_tap;
    if (row < 0 || column < 0 || row % walk.stride != 0 || column % walk.stride != 0) {
      continue;
    }
    if (row / walk.stride < walk.other_height && column / walk.stride < walk.other_width) {
      visit(row / walk.stride, column / walk.stride, position);
    }
  }
}

template <typename S, int V>
__global__ void __launch_bounds__(kThreads) take_max(Walk walk, const S *x, S *y, uint8_t *taps) {
  using T = Compute<S>;
  const Place place(walk);
  if (!place.is_inside) {
    return;
  }
  T best[V];
  int found[V];
  // The first of a window of nothing but negative infinity counts.
  const int first = (place.row * walk.stride == 0 ? 3 : 0) + (place.column * walk.stride == 0 ? 1 : 0);
#pragma unroll
  for (int index = 0; index < V; ++index) {
    best[index] = -T(INFINITY);
    found[index] = first;
  }
  for_each_tap(walk, place, [&](int row, int column, int tap) {
    T values[V];
    load<S, V>(at<V>(x, walk, place.image, row, column, walk.other_height, walk.other_width, place.vector), values);
#pragma unroll
    for (int index = 0; index < V; ++index) {
      if (values[index] > best[index] || values[index] != values[index]) {
        best[index] = values[index];
        found[index] = tap;
      }
    }
  });
  store<S, V>(best, at<V>(y, walk, place.image, place.row, place.column, walk.height, walk.width, place.vector));
  if (taps) {
    cuda::Vector<uint8_t, V> bytes;
#pragma unroll
    for (int index = 0; index < V; ++index) {
      bytes.values[index] = uint8_t(found[index]);
    }
    uint8_t *to = at<V>(taps, walk, place.image, place.row, place.column, walk.height, walk.width, place.vector);
    *reinterpret_cast<cuda::Vector<uint8_t, V> *>(to) = bytes;
  }
}

template <typename S, int V>
__global__ void __launch_bounds__(kThreads)
    spread_max(Walk walk, const uint8_t *taps, const S *y_gradient, S *x_gradient) {
  using T = Compute<S>;
  const Place place(walk);
  if (!place.is_inside) {
    return;
  }
  T sums[V] = {};
  for_each_window(walk, place, [&](int row, int column, int tap) {
    T values[V];
    load<S, V>(at<V>(y_gradient, walk, place.image, row, column, walk.other_height, walk.other_width, place.vector), values);
    const auto found = *reinterpret_cast<const cuda::Vector<uint8_t, V> *>(
        at<V>(taps, walk, place.image, row, column, walk.other_height, walk.other_width, place.vector));
#pragma unroll
    for (int index = 0; index < V; ++index) {
      sums[index] += found.values[index] == tap ? values[index] : T(0);
    }
  });
  store<S, V>(sums, at<V>(x_gradient, walk, place.image, place.row, place.column, walk.height, walk.width, place.vector));
}

template <typename S, int V>
__global__ void __launch_bounds__(kThreads) take_average(Walk walk, const S *x, S *y) {
  using T = Compute<S>;
  const Place place(walk);
  if (!place.is_inside) {
    return;
  }
  T sums[V] = {};
  for_each_tap(walk, place, [&](int row, int column, int) {
    T values[V];
    load<S, V>(at<V>(x, walk, place.image, row, column, walk.other_height, walk.other_width, place.vector), values);
#pragma unroll
    for (int index = 0; index < V; ++index) {
      sums[index] += values[index];
    }
  });
  const T inverse = T(1) / T(taps_inside(place.row, walk.stride, walk.other_height) *
                             taps_inside(place.column, walk.stride, walk.other_width));
#pragma unroll
  for (int index = 0; index < V; ++index) {
    sums[index] *= inverse;
  }
  store<S, V>(sums, at<V>(y, walk, place.image, place.row, place.column, walk.height, walk.width, place.vector));
}

template <typename S, int V>
__global__ void __launch_bounds__(kThreads) spread_average(Walk walk, const S *y_gradient, S *x_gradient) {
  using T = Compute<S>;
  const Place place(walk);
  if (!place.is_inside) {
    return;
  }
  T sums[V] = {};
  for_each_window(walk, place, [&](int row, int column, int) {
    T values[V];
    load<S, V>(at<V>(y_gradient, walk, place.image, row, column, walk.other_height, walk.other_width, place.vector), values);
    const T inverse =
        T(1) / T(taps_inside(row, walk.stride, walk.height) * taps_inside(column, walk.stride, walk.width));
#pragma unroll
    for (int index = 0; index < V; ++index) {
      sums[index] += values[index] * inverse;
    }
  });
  store<S, V>(sums, at<V>(x_gradient, walk, place.image, place.row, place.column, walk.height, walk.width, place.vector));
}

// ---- Launches ----

Walk over_outputs(const Shape &s, int vector) {
  const int vectors = int(s.channels) / vector;
  return {vectors, int(s.out_height), int(s.out_width), int(s.height), int(s.width), int(s.stride),
          s.images * s.out_height * s.out_width * vectors};
}

Walk over_inputs(const Shape &s, int vector) {
  const int vectors = int(s.channels) / vector;
  return {vectors, int(s.height), int(s.width), int(s.out_height), int(s.out_width), int(s.stride),
          s.images * s.height * s.width * vectors};
}

dim3 blocks_of(const Walk &walk) { return dim3(unsigned((walk.count + kThreads - 1) / kThreads)); }

// Calls `launch.operator()<V>()` with the largest vectors that both tensors can be read in: of 16 bytes, of 4 values or
// of one.
template <typename S, int V = cuda::kVector<S>, typename Launch>
int with_vectors(const Shape &s, const S *first, const S *second, const Launch &launch) {
  if (s.images * s.channels * s.height * s.width == 0) {
    return 0;
  }
  if constexpr (V > 1) {
    const int channels = int(s.channels);
    if (!cuda::fits_vectors<V>(first, channels) || !cuda::fits_vectors<V>(second, channels)) {
      return with_vectors<S, (V > 4 ? V / 2 : 1)>(s, first, second, launch);
    }
  }
  launch.template operator()<V>();
  return cuda::launch_result();
}

template <typename S> int max(const Shape &shape, const S *x, S *y, uint8_t *taps, cuda::Stream stream) {
  return with_vectors(shape, x, (const S *)y, [&]<int V>() {
    const Walk walk = over_outputs(shape, V);
    PDARTS_LAUNCH((take_max<S, V>), blocks_of(walk), dim3(kThreads), 0, stream, walk, x, y, taps);
  });
}

template <typename S>
int max_gradient(const Shape &shape, const uint8_t *taps, const S *y_gradient, S *x_gradient, cuda::Stream stream) {
  return with_vectors(shape, y_gradient, (const S *)x_gradient, [&]<int V>() {
    const Walk walk = over_inputs(shape, V);
    PDARTS_LAUNCH((spread_max<S, V>), blocks_of(walk), dim3(kThreads), 0, stream, walk, taps, y_gradient, x_gradient);
  });
}

template <typename S> int average(const Shape &shape, const S *x, S *y, cuda::Stream stream) {
  return with_vectors(shape, x, (const S *)y, [&]<int V>() {
    const Walk walk = over_outputs(shape, V);
    PDARTS_LAUNCH((take_average<S, V>), blocks_of(walk), dim3(kThreads), 0, stream, walk, x, y);
  });
}

template <typename S> int average_gradient(const Shape &shape, const S *y_gradient, S *x_gradient, cuda::Stream stream) {
  return with_vectors(shape, y_gradient, (const S *)x_gradient, [&]<int V>() {
    const Walk walk = over_inputs(shape, V);
    PDARTS_LAUNCH((spread_average<S, V>), blocks_of(walk), dim3(kThreads), 0, stream, walk, y_gradient, x_gradient);
  });
}

template <typename S> constexpr CudaKernels<S> kCudaKernels = {max<S>, max_gradient<S>, average<S>, average_gradient<S>};

} // namespace

extern const CudaKernels<float> cuda_float_kernels = kCudaKernels<float>;
extern const CudaKernels<double> cuda_double_kernels = kCudaKernels<double>;
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels = kCudaKernels<BFloat16>;

} // namespace pdarts::pool
