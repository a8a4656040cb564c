// Passes that scale branches or nodes, forward and backward: which pixels a block takes, and what it has in shared memory and
// registers.
#pragma once
#include "cuda_work.h"

namespace pdarts::mix {
namespace {

// Vectors of a tile: scales of all edges stand in shared memory.
constexpr int kMostScaledVectors = 8;

// What a block of a scaling pass works on: blocks of `size` pixels, the last ones first.
struct Stretch {
  int64_t begin, end;

  __device__ __forceinline__ Stretch(int64_t pixels, int size)
      : begin(int64_t(gridDim.y - 1 - blockIdx.y) * size), end(begin + size < pixels ? begin + size : pixels) {}
};

struct ScalingGrid {
  CudaTiling tiling;
  int size;
  dim3 blocks;

  ScalingGrid(int64_t pixels, int vectors) : tiling(CudaTiling::of(vectors, kMostScaledVectors)) {
    // As many as there is room for at a time.
    constexpr int kMostBlocks = 4 * cuda::kMultiprocessors;
    const int64_t most = tiling.tiles < kMostBlocks ? kMostBlocks / tiling.tiles : 1;
    const int64_t steps = (pixels + tiling.rows - 1) / tiling.rows;
    size = int((steps + most - 1) / most * tiling.rows);
    blocks = dim3(tiling.tiles, unsigned((pixels + size - 1) / size));
  }
};

// A tile's values of `count` rows of channels into shared memory: to[row][tile's channels] = value(row, channel).
template <typename T, typename Value>
__device__ __forceinline__ void fill(T *to, int count, int channels, int first_channel, int tile_channels,
                                     const Value &value) {
  for (int position = threadIdx.x; position < count * tile_channels; position += kCudaThreads) {
    const int row = position / tile_channels, channel = first_channel + position - row * tile_channels;
    to[position] = channel < channels ? value(row, channel) : T(0);
  }
}

// values[chosen] += scale * factor, the values in registers.
template <typename T, int N, int V>
__device__ __forceinline__ void add_to_chosen(T (&values)[N][V], int chosen, const T (&scale)[V], const T (&factor)[V]) {
#pragma unroll
  for (int node = 0; node < N; ++node) {
    if (node == chosen) {
#pragma unroll
      for (int index = 0; index < V; ++index) {
        values[node][index] += scale[index] * factor[index];
      }
    }
  }
}

// result += scale * values[chosen].
template <typename T, int N, int V>
__device__ __forceinline__ void add_chosen(T (&result)[V], const T (&values)[N][V], int chosen, const T (&scale)[V]) {
#pragma unroll
  for (int node = 0; node < N; ++node) {
    if (node == chosen) {
#pragma unroll
      for (int index = 0; index < V; ++index) {
        result[index] += scale[index] * values[node][index];
      }
    }
  }
}

} // namespace
} // namespace pdarts::mix
