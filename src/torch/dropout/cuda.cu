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

template <typename S>
__global__ void drop(const S *x, S *y, int64_t count, graph::Draw draw) {
  using T = Compute<S>;
  const uint64_t seed = mixed(draw.replayed_seed ? *draw.replayed_seed : draw.seed);
  const double probability = draw.replayed_probability ? *draw.replayed_probability : draw.probability;
  const T scale = T(1 / (1 - probability));
  // Of 2^32 values, those below are dropped.
  const double threshold = probability * 4294967296.0;
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index < count; index += step) {
    const bool dropped = double(mixed(seed + uint64_t(index)) >> 32) < threshold;
    y[index] = cuda::narrowed<S>(dropped ? T(0) : T(cuda::widened(x[index]) * scale));
  }
}

template <typename S> int forward(const S *x, S *y, int64_t count, const graph::Draw &draw, cuda::Stream stream) {
  if (count == 0) {
    return 0;
  }
  const int64_t blocks = (count + kThreads - 1) / kThreads, most = 16 * cuda::kMultiprocessors;
  PDARTS_LAUNCH(drop<S>, dim3(unsigned(blocks < most ? blocks : most)), dim3(kThreads), 0, stream, x, y, count, draw);
  return cuda::launch_result();
}

} // namespace

extern const CudaKernels<float> cuda_float_kernels = {forward<float>};
extern const CudaKernels<double> cuda_double_kernels = {forward<double>};
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels = {forward<BFloat16>};

} // namespace pdarts::dropout
