#include "cuda.h"

namespace pdarts::dropout {
namespace {

constexpr int kThreads = 256;

// Vigna's SplitMix64: a bijection whose outputs for neighbouring inputs look independent.
__device__ __forceinline__ uint64_t mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

// What becomes of the elements of all copies: that of place i in copy c is the draw's (c * count + i)th.
template <typename T> struct Fate {
  uint64_t seed, threshold;
  T scale;

  explicit __device__ Fate(const graph::Draw &draw) {
    seed = mixed(draw.replayed_seed ? *draw.replayed_seed : draw.seed);
    const double probability = draw.replayed_probability ? *draw.replayed_probability : draw.probability;
    // Of 2^32 values, those below are dropped.
    threshold = uint64_t(probability * 4294967296.0);
    scale = T(1 / (1 - probability));
  }

  __device__ __forceinline__ T operator()(T value, int64_t number) const {
    return (mixed(seed + uint64_t(number)) >> 32) < threshold ? T(0) : value * scale;
  }
};

// A thread's first element, and how far its next one is.
__device__ __forceinline__ int64_t first() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }
__device__ __forceinline__ int64_t step() { return int64_t(gridDim.x) * kThreads; }

template <typename S> __global__ void drop(const S *x, Copies<S> y, int64_t count, graph::Draw draw) {
  const Fate<Compute<S>> fate(draw);
  for (int64_t index = first(); index < count; index += step()) {
    const Compute<S> value = cuda::widened(x[index]);
#pragma unroll
    for (int copy = 0; copy < kMostCopies; ++copy) {
      if (copy < y.number) {
        y.at[copy][index] = cuda::narrowed<S>(fate(value, copy * count + index));
      }
    }
  }
}

template <typename S>
__global__ void drop_gradients(Copies<const S> gradients, S *x_gradient, int64_t count, graph::Draw draw) {
  const Fate<Compute<S>> fate(draw);
  for (int64_t index = first(); index < count; index += step()) {
    Compute<S> sum = 0;
#pragma unroll
    for (int copy = 0; copy < kMostCopies; ++copy) {
      if (copy < gradients.number) {
        sum += fate(cuda::widened(gradients.at[copy][index]), copy * count + index);
      }
    }
    x_gradient[index] = cuda::narrowed<S>(sum);
  }
}

dim3 grid(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads, most = 16 * cuda::kMultiprocessors;
  return dim3(unsigned(blocks < most ? blocks : most));
}

template <typename S>
int forward(const S *x, const Copies<S> &y, int64_t count, const graph::Draw &draw, cuda::Stream stream) {
  if (count == 0) {
    return 0;
  }
  PDARTS_LAUNCH(drop<S>, grid(count), dim3(kThreads), 0, stream, x, y, count, draw);
  return cuda::launch_result();
}

template <typename S>
int backward(const Copies<const S> &gradients, S *x_gradient, int64_t count, const graph::Draw &draw,
             cuda::Stream stream) {
  if (count == 0) {
    return 0;
  }
  PDARTS_LAUNCH(drop_gradients<S>, grid(count), dim3(kThreads), 0, stream, gradients, x_gradient, count, draw);
  return cuda::launch_result();
}

} // namespace

extern const CudaKernels<float> cuda_float_kernels = {forward<float>, backward<float>};
extern const CudaKernels<double> cuda_double_kernels = {forward<double>, backward<double>};
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels = {forward<BFloat16>, backward<BFloat16>};

} // namespace pdarts::dropout
