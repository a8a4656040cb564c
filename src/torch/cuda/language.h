// What the GPU kernels (the cuda.cu beside each operation) are written in: CUDA C++. nvcc compiles it for GPUs. For tests on
// machines without one, any C++ compiler does with tests/emulation/cuda.h included before, which defines the same names.
//
// As the CPU kernels, the GPU kernels include neither libtorch nor the standard library's templates.
#pragma once
#ifdef __CUDACC__
#include <cuda_runtime.h>

// kernel(arguments...) for a grid of blocks; `kernel` without commas, or in parentheses.
#define PDARTS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                  \
  (kernel)<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
// Memory of the block: `count` of `type`, as an array.
#define PDARTS_SHARED(type, name, count) __shared__ type name[count]
// The block's memory whose size is given at the launch, as an array of `type`.
#define PDARTS_DYNAMIC_SHARED(type, name)                                                                              \
  extern __shared__ __align__(32) unsigned char pdarts_dynamic_shared[];                                               \
  type *name = reinterpret_cast<type *>(pdarts_dynamic_shared)
// A kernel that takes more dynamic shared memory than every GPU gives without being asked (48 KiB).
#define PDARTS_ALLOW_SHARED(kernel, bytes)                                                                             \
  cudaFuncSetAttribute((kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes))
#endif

#include "../storage.h"

namespace pdarts::cuda {

// A cudaStream_t.
typedef void *Stream;

} // namespace pdarts::cuda

// What follows is for kernels alone; what calls them sees the tables.
#if !defined(__CUDACC__) && !defined(PDARTS_LAUNCH)
#define PDARTS_HOST_DEVICE
#else
#define PDARTS_HOST_DEVICE __host__ __device__

namespace pdarts::cuda {

// What a launch came to: a cudaError_t, 0 where it is queued. Read after every launch.
#ifdef __CUDACC__
inline int launch_result() { return static_cast<int>(cudaGetLastError()); }
#else
inline int launch_result() { return 0; }
#endif

// Multiprocessors to fill with blocks; the same everywhere, since partial sums follow the number of blocks.
constexpr int kMultiprocessors = 132;
constexpr int kWarp = 32;

template <typename S> __device__ __forceinline__ Compute<S> widened(S value) { return value; }
template <> __device__ __forceinline__ float widened<BFloat16>(BFloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// Rounded to the nearest, ties to even.
template <typename S> __device__ __forceinline__ S narrowed(Compute<S> value) { return value; }
template <> __device__ __forceinline__ BFloat16 narrowed<BFloat16>(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if (value != value) {
    return {uint16_t(0x7fc0)};
  }
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

__host__ __device__ __forceinline__ int divide_up(int value, int step) { return (value + step - 1) / step; }

// The sum over a warp's lanes, on all of them, in an order of its own.
template <typename T> __device__ __forceinline__ T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  return value;
}

} // namespace pdarts::cuda
#endif
