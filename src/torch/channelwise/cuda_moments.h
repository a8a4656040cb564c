// Device code that sums over pixels: vectors of adjacent channels, a block's tile of them, moments of a chunk of pixels.
//
// A thread keeps its vector of channels and walks over pixels. Chunks of pixels depend on the number of pixels alone, and their
// sums are added up in a fixed order.
#pragma once
#include "../cuda/vector.h"
#include "batch_norm.h"

namespace pdarts::channelwise {

constexpr int kCudaThreads = 256;
// Vectors that a thread has under way together.
constexpr int kCudaLoads = 4;

using cuda::fits_vectors;
using cuda::kVector;
using cuda::load;
using cuda::store;

// ---- What a block's threads work on ----

// A row of vectors cut into tiles; a block's threads take a tile of several pixels.
struct CudaTiling {
  int vectors, tiles, width, rows; // vectors of a pixel, tiles of a pixel, vectors of a tile, pixels of a block

  static __host__ __device__ __forceinline__ CudaTiling of(int vectors, int most) {
    const int tiles = cuda::divide_up(vectors, most), width = cuda::divide_up(vectors, tiles);
    return {vectors, tiles, width, kCudaThreads / width};
  }
};

// A thread's place in its block's tile.
struct CudaPlace {
  int vector, row; // of the pixel's vectors; of the block's pixels
  bool is_active;

  __device__ __forceinline__ CudaPlace(const CudaTiling &tiling, int tile)
      : vector(tile * tiling.width + int(threadIdx.x) % tiling.width), row(int(threadIdx.x) / tiling.width),
        is_active(row < tiling.rows && vector < tiling.vectors) {}
};

// Values of each thread added up over the block's pixels, the result on those with row 0. `shared`: [N][kCudaThreads].
template <typename T, int N>
__device__ __forceinline__ void sum_over_rows(const CudaTiling &tiling, const CudaPlace &place, T (&values)[N], T *shared) {
  T *own = shared + threadIdx.x;
  for (int index = 0; index < N; ++index) {
    own[index * kCudaThreads] = values[index];
  }
  for (int rows = tiling.rows; rows > 1;) {
    const int half = (rows + 1) / 2;
    __syncthreads();
    if (place.row < rows - half) {
      for (int index = 0; index < N; ++index) {
        values[index] += own[index * kCudaThreads + half * tiling.width];
        own[index * kCudaThreads] = values[index];
      }
    }
    rows = half;
  }
}

// ---- Passes that write every pixel ----

// Blocks of a pass over all pixels: [strips][tiles].
struct CudaStrips {
  int pixels_of_block;
  dim3 blocks;

  CudaStrips(int64_t pixels, const CudaTiling &tiling) {
    constexpr int kMostBlocks = 16 * cuda::kMultiprocessors;
    const int64_t most = tiling.tiles < kMostBlocks ? kMostBlocks / tiling.tiles : 1, share = (pixels + most - 1) / most;
    const int64_t least = 4 * tiling.rows;
    pixels_of_block = int(share > least ? share : least);
    blocks = dim3(tiling.tiles, unsigned((pixels + pixels_of_block - 1) / pixels_of_block));
  }
};

// The pixels of a block.
struct CudaStrip {
  int64_t begin, end;

  __device__ __forceinline__ CudaStrip(int64_t pixels, int pixels_of_block, int strip)
      : begin(int64_t(strip) * pixels_of_block), end(begin + pixels_of_block < pixels ? begin + pixels_of_block : pixels) {}
};

// ---- Chunks of pixels whose sums are kept apart ----

struct CudaChunks {
  int64_t pixels;
  int size, count; // pixels of each but the last; chunks

  static __host__ __device__ __forceinline__ CudaChunks of(int64_t pixels) {
    constexpr int kMost = 2 * cuda::kMultiprocessors, kLeastPixels = 64;
    const int64_t share = (pixels + kMost - 1) / kMost, size = share > kLeastPixels ? share : kLeastPixels;
    return {pixels, int(size), int((pixels + size - 1) / size)};
  }
  __host__ __device__ __forceinline__ int64_t begin(int chunk) const { return int64_t(chunk) * size; }
  __host__ __device__ __forceinline__ int length(int chunk) const {
    const int64_t left = pixels - begin(chunk);
    return left < size ? int(left) : size;
  }
};

// Of a chunk: its mean and the sum of squared distances from it.
struct alignas(16) ChunkMoments {
  double mean, squares;
};

// Elements of sum_over_rows's memory.
template <int V> constexpr int kMomentsShared = 2 * V * kCudaThreads;

// Moments of a tile's channels over a chunk into [channels][chunks]. They are taken around the chunk's first pixel, so that
// they keep their digits where the mean is large beside the deviation.
template <typename S, int V>
__device__ __forceinline__ void chunk_moments(const S *x, int channels, const CudaTiling &tiling, int tile,
                                              const CudaChunks &chunks, int chunk, ChunkMoments *moments,
                                              Compute<S> *shared) {
  using T = Compute<S>;
  const CudaPlace place(tiling, tile);
  const int length = chunks.length(chunk);
  T origin[V] = {}, sums[2 * V] = {};
  if (place.is_active) {
    const S *first = x + chunks.begin(chunk) * channels + place.vector * V;
    load<S, V>(first, origin);
    for (int pixel = place.row; pixel < length; pixel += kCudaLoads * tiling.rows) {
      T values[kCudaLoads][V];
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
        const int at = pixel + step * tiling.rows;
        // The first pixel adds nothing.
        load<S, V>(first + int64_t(at < length ? at : 0) * channels, values[step]);
      }
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          const T distance = values[step][index] - origin[index];
          sums[index] += distance;
          sums[V + index] += distance * distance;
        }
      }
    }
  }
  sum_over_rows(tiling, place, sums, shared);
  if (place.is_active && place.row == 0) {
#pragma unroll
    for (int index = 0; index < V; ++index) {
      const double sum = sums[index], squares = double(sums[V + index]) - sum * sum / length;
      moments[int64_t(place.vector * V + index) * chunks.count + chunk] = {double(origin[index]) + sum / length,
                                                                          squares > 0 ? squares : 0};
    }
  }
}

// Mean and variance of a channel from its chunks' moments, on all of a warp's lanes.
struct Variance {
  double mean, variance;
};
__device__ __forceinline__ Variance combined(const CudaChunks &chunks, const ChunkMoments *moments) {
  const int lane = threadIdx.x % cuda::kWarp;
  double mean = 0, squares = 0;
  for (int chunk = lane; chunk < chunks.count; chunk += cuda::kWarp) {
    mean += chunks.length(chunk) * moments[chunk].mean;
  }
  mean = cuda::warp_sum(mean) / chunks.pixels;
  for (int chunk = lane; chunk < chunks.count; chunk += cuda::kWarp) {
    const double distance = moments[chunk].mean - mean;
    squares += moments[chunk].squares + chunks.length(chunk) * distance * distance;
  }
  return {mean, cuda::warp_sum(squares) / chunks.pixels};
}

// What to normalise a channel by, on all of a warp's lanes: in training its batch's moments, which also move the running ones.
struct ChannelStatistics {
  double mean, inverse_deviation;
};
template <typename T>
__device__ __forceinline__ ChannelStatistics settled(const CudaChunks &chunks, const ChunkMoments *moments, bool training,
                                                     T *running_mean, T *running_var) {
  Variance result{double(*running_mean), double(*running_var)};
  if (training) {
    const Variance running = result;
    result = combined(chunks, moments); // after which all lanes have read the running ones
    if (threadIdx.x % cuda::kWarp == 0) {
      const double unbiased = chunks.pixels > 1 ? double(chunks.pixels) / double(chunks.pixels - 1) : 1;
      *running_mean = T((1 - kMomentum) * running.mean + kMomentum * result.mean);
      *running_var = T((1 - kMomentum) * running.variance + kMomentum * unbiased * result.variance);
    }
  }
  return {result.mean, 1 / sqrt(result.variance + kEpsilon)};
}

} // namespace pdarts::channelwise
