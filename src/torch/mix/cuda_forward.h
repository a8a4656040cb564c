// The forward pass: moments of all branches, what to normalise by, one pass that writes all nodes.
#pragma once
#include "cuda_scaling.h"

namespace pdarts::mix {
namespace {

// ---- Statistics ----

// Branches whose moments are taken.
template <typename S> struct MomentsWork {
  int64_t pixels;
  int num_branches;
  struct Branch {
    const S *y;
    ChunkMoments *moments;
    int channels, tiles;
  } branches[kMaxCudaBranches];
};

// Blocks: [chunks][tiles of all branches].
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) take_moments(MomentsWork<S> work, CudaChunks chunks) {
  PDARTS_SHARED(Compute<S>, shared, kMomentsShared<V>);
  int tile = blockIdx.x, index = 0;
  while (tile >= work.branches[index].tiles) {
    tile -= work.branches[index++].tiles;
  }
  const auto &branch = work.branches[index];
  chunk_moments<S, V>(branch.y, branch.channels, CudaTiling::of(branch.channels / V, kMostVectors), tile, chunks,
                      blockIdx.y, branch.moments, shared);
}

// A warp for each channel of each row.
template <typename S>
__global__ void __launch_bounds__(kCudaThreads) settle(Work<S> work, CudaChunks chunks, const ChunkMoments *moments) {
  using T = Compute<S>;
  const int position = blockIdx.x * kWarps + threadIdx.x / cuda::kWarp, row = position / work.channels;
  if (row >= work.num_rows) {
    return;
  }
  const int channel = position - row * work.channels;
  ChannelStatistics statistics{0, 1};
  if (work.is_normalised(row)) {
    statistics = settled(chunks, moments + int64_t(position) * chunks.count, work.training,
                         work.rows[row].running_mean + channel, work.rows[row].running_var + channel);
  }
  if (threadIdx.x % cuda::kWarp == 0) {
    work.mean[position] = T(statistics.mean);
    work.inverse_deviation[position] = T(statistics.inverse_deviation);
  }
}

// ---- Sums ----

// For up to N nodes. Shared memory: scales [edges], means [rows], of the tile's channels.
template <typename S, int V, int N>
__global__ void __launch_bounds__(kCudaThreads) add_to_sums(Work<S> work, CudaTiling tiling, int stretch_size) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, scales);
  const int channels = work.channels, tile_channels = tiling.width * V, first_of_tile = blockIdx.x * tile_channels;
  T *const means = scales + work.num_edges * tile_channels;
  fill(scales, work.num_edges, channels, first_of_tile, tile_channels, [&](int edge, int channel) {
    return work.weights[work.weight_of[edge]] * work.inverse_deviation[work.row_of[edge] * channels + channel];
  });
  fill(means, work.num_rows, channels, first_of_tile, tile_channels,
       [&](int row, int channel) { return work.mean[row * channels + channel]; });
  __syncthreads();
  const CudaPlace place(tiling, blockIdx.x);
  if (!place.is_active) {
    return;
  }
  const int channel = place.vector * V;
  const T *const own_scales = scales + (channel - first_of_tile), *const own_means = means + (channel - first_of_tile);
  const Stretch stretch(work.pixels, stretch_size);
  for (int64_t pixel = stretch.begin + place.row; pixel < stretch.end; pixel += tiling.rows) {
    T sums[N][V];
#pragma unroll
    for (int node = 0; node < N; ++node) {
      if (node < work.num_nodes && !work.is_new[node]) {
        load<T, V>(work.sums[node] + pixel * channels + channel, sums[node]);
      } else {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          sums[node][index] = 0;
        }
      }
    }
    for (int first = 0; first < work.num_rows; first += kCudaLoads) {
      T ys[kCudaLoads][V];
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
        if (first + step < work.num_rows) {
          const Row<S> &row = work.rows[first + step];
          load<S, V>(row.y + pixel * row.step + channel, ys[step]);
        }
      }
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
        if (first + step < work.num_rows) {
          const Row<S> &row = work.rows[first + step];
          T mean[V];
          load<T, V>(own_means + (first + step) * tile_channels, mean);
#pragma unroll
          for (int index = 0; index < V; ++index) {
            ys[step][index] -= mean[index];
          }
          for (int edge = row.first_edge; edge < row.first_edge + row.num_edges; ++edge) {
            T scale[V];
            load<T, V>(own_scales + edge * tile_channels, scale);
            add_to_chosen(sums, work.node_of[edge], scale, ys[step]);
          }
        }
      }
    }
#pragma unroll
    for (int node = 0; node < N; ++node) {
      if (node < work.num_nodes) {
        store<T, V>(sums[node], work.sums[node] + pixel * channels + channel);
      }
    }
  }
}

template <typename S, int V> int launch_moments(const CudaCall<S> &call, const CudaChunks &chunks, cuda::Stream stream) {
  MomentsWork<S> work{call.pixels, 0, {}};
  int tiles = 0;
  for (int index = 0; index < call.num_branches; ++index) {
    const CudaBranch<S> &branch = call.branches[index];
    if (branch.running_mean) {
      const int channels = branch.blocks * call.channels;
      auto &added = work.branches[work.num_branches++];
      added.y = branch.y;
      added.moments = Workspace<S>(call).moments + int64_t(branch.first_row) * call.channels * chunks.count;
      added.channels = channels;
      added.tiles = CudaTiling::of(channels / V, kMostVectors).tiles;
      tiles += added.tiles;
    }
  }
  if (tiles == 0) {
    return 0;
  }
  PDARTS_LAUNCH((take_moments<S, V>), dim3(tiles, chunks.count), dim3(kCudaThreads), 0, stream, work, chunks);
  return cuda::launch_result();
}

template <typename S, int V, int N> int launch_sums(const Work<S> &work, cuda::Stream stream) {
  const ScalingGrid grid(work.pixels, work.channels / V);
  const size_t shared_bytes = sizeof(Compute<S>) * (work.num_edges + work.num_rows) * grid.tiling.width * V;
  PDARTS_LAUNCH((add_to_sums<S, V, N>), grid.blocks, dim3(kCudaThreads), shared_bytes, stream, work, grid.tiling, grid.size);
  return cuda::launch_result();
}

template <typename S> int forward(const CudaCall<S> &call, cuda::Stream stream) {
  Work<S> work;
  if (!describe(call, work)) {
    return kInvalidValue;
  }
  const auto chunks = CudaChunks::of(call.pixels);
  return with_vectors(work, [&]<int V>() {
    int result = call.training ? launch_moments<S, V>(call, chunks, stream) : 0;
    if (result == 0) {
      const int blocks = cuda::divide_up(work.num_rows * work.channels, kWarps);
      PDARTS_LAUNCH((settle<S>), dim3(blocks), dim3(kCudaThreads), 0, stream, work, chunks, Workspace<S>(call).moments);
      result = cuda::launch_result();
    }
    if (result == 0) {
      result = call.num_nodes <= 4 ? launch_sums<S, V, 4>(work, stream) : launch_sums<S, V, kMaxCudaNodes>(work, stream);
    }
    return result;
  });
}

} // namespace
} // namespace pdarts::mix
