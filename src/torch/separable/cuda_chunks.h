// Chunks of pixels whose sums are kept apart, and what blocks sum up of them. Pixels are counted as the places of rows are.
#pragma once
#include "../cuda/batch.h"
#include "cuda_window.h"

namespace pdarts::separable {

// Pixels, cut into at most so many chunks whose sums are kept apart.
struct Chunks {
  int64_t pixels;
  int size, count;

  // Each of as many pixels as a block computes at once, `at_once`, or a multiple of them.
  static Chunks of(int64_t pixels, int most, int at_once) {
    const int64_t share = (pixels + most - 1) / most, size = (share + at_once - 1) / at_once * at_once;
    return {pixels, int(size), int((pixels + size - 1) / size)};
  }
  PDARTS_HOST_DEVICE int64_t begin(int chunk) const { return int64_t(chunk) * size; }
  PDARTS_HOST_DEVICE int length(int chunk) const {
    const int64_t left = pixels - begin(chunk);
    return left < size ? int(left) : size;
  }
};

// The calls of a backward pass, which the parts of its launches name by number.
template <typename S> struct BackwardCalls {
  CudaBackward<S> of[kMostCalls];
  Compute<S> *middle_gradients[kMostCalls]; // of what is between the convolutions: [pixels, middle]; null where not wanted
};

// Rows of shares, [count][size], that are added up in their order into to[size].
template <typename T> struct Shares {
  const T *from;
  T *to;
  int size, count;
};
// Those of the weights and of BatchNorm.
template <typename T> using SharesBatch = cuda::Batch<Shares<T>, 3 * kMostCalls>;

constexpr int kSharesLanes = 32, kSharesThreads = kSharesLanes * cuda::kWarp;

// Blocks of 32 columns.
template <typename T>
__global__ void __launch_bounds__(kSharesThreads) add_shares(const __grid_constant__ SharesBatch<T> batch) {
  using Row = T[cuda::kWarp];
  PDARTS_SHARED(Row, sums, kSharesLanes);
  int block = int(blockIdx.x);
  const Shares<T> &shares = batch.own(block);
  const int column = block * cuda::kWarp + int(threadIdx.x) % cuda::kWarp, lane = int(threadIdx.x) / cuda::kWarp;
  T sum = 0;
  if (column < shares.size) {
#pragma unroll 4
    for (int row = lane; row < shares.count; row += kSharesLanes) {
      sum += shares.from[int64_t(row) * shares.size + column];
    }
  }
  sums[lane][threadIdx.x % cuda::kWarp] = sum;
  __syncthreads();
  if (lane == 0 && column < shares.size) {
    for (int other = 1; other < kSharesLanes; ++other) {
      sum += sums[other][threadIdx.x];
    }
    shares.to[column] = sum;
  }
}

} // namespace pdarts::separable
