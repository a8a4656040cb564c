// The kernels of cuda.h. Forward: moments of all branches, what to normalise by, one pass that writes all nodes. Backward: sums
// over the batch for all edges, the coefficients of the gradients, one pass that writes all branches' gradients.
//
// The second pass over the pixels begins where the first ended, with what is still in the cache.
#include "cuda.h"
#include "../channelwise/cuda_moments.h"
#include "../cuda/workspace.h"

namespace pdarts::mix {
namespace {

using namespace channelwise;

constexpr int kWarps = kCudaThreads / cuda::kWarp;
// Vectors of a tile: of moments, and where scales of all edges stand in shared memory.
constexpr int kMostVectors = 64, kMostScaledVectors = 8;
// Edges of one node whose products a block sums up together.
constexpr int kGroupEdges = 4;
constexpr int kInvalidValue = 1; // cudaErrorInvalidValue

// ---- What a call works on, as the kernels walk over it ----

// A block of a branch: [pixels, channels], whose pixels are `step` elements apart.
template <typename S> struct Row {
  const S *y;
  S *gradient;
  Compute<S> *running_mean, *running_var;
  int step;
  unsigned char first_edge, num_edges; // in Work's order of edges
  bool depends_on_batch;
};

// Edges of one node.
struct Group {
  unsigned char node, num_edges, edges[kGroupEdges]; // in Work's order
  bool is_first;                                     // of its node
};

template <typename S> struct Work {
  using T = Compute<S>;
  int64_t pixels;
  int channels, num_rows, num_edges, num_nodes;
  bool training;
  Row<S> rows[kMaxCudaEdges];
  // Edges in the order of their rows: their place in the order of the weights, row and node.
  unsigned char weight_of[kMaxCudaEdges], row_of[kMaxCudaEdges], node_of[kMaxCudaEdges];
  T *sums[kMaxCudaNodes];
  bool is_new[kMaxCudaNodes];
  const T *weights;
  T *mean, *inverse_deviation; // [rows, channels]

  __host__ __device__ __forceinline__ bool is_normalised(int row) const { return rows[row].running_mean != nullptr; }
};

// False for a call that has more of anything than there is room for, or an edge that leads nowhere.
template <typename S> bool describe(const CudaCall<S> &call, Work<S> &work) {
  work = {call.pixels, call.channels, 0, call.num_edges, call.num_nodes, call.training};
  if (call.pixels < 1 || call.channels < 1 || call.num_branches < 1 || call.num_branches > kMaxCudaBranches ||
      call.num_edges < 0 || call.num_edges > kMaxCudaEdges || call.num_nodes < 1 || call.num_nodes > kMaxCudaNodes) {
    return false;
  }
  int num_edges = 0;
  for (int index = 0; index < call.num_branches; ++index) {
    const CudaBranch<S> &branch = call.branches[index];
    if (branch.first_row != work.num_rows || branch.blocks < 1 || branch.blocks > kMaxCudaEdges - work.num_rows) {
      return false;
    }
    for (int block = 0; block < branch.blocks; ++block) {
      const int first_edge = num_edges, first_channel = block * call.channels;
      for (int edge = 0; edge < call.num_edges; ++edge) {
        if (call.edges[edge].branch == index && call.edges[edge].block == block) {
          if (call.edges[edge].node < 0 || call.edges[edge].node >= call.num_nodes) {
            return false;
          }
          work.weight_of[num_edges] = edge;
          work.row_of[num_edges] = work.num_rows;
          work.node_of[num_edges++] = call.edges[edge].node;
        }
      }
      Row<S> &row = work.rows[work.num_rows++];
      row.y = branch.y + first_channel;
      row.gradient = branch.y_gradient ? branch.y_gradient + first_channel : nullptr;
      row.running_mean = branch.running_mean ? branch.running_mean + first_channel : nullptr;
      row.running_var = branch.running_mean ? branch.running_var + first_channel : nullptr;
      row.step = branch.blocks * call.channels;
      row.first_edge = first_edge;
      row.num_edges = num_edges - first_edge;
      row.depends_on_batch = call.training && branch.running_mean;
    }
  }
  for (int node = 0; node < call.num_nodes; ++node) {
    work.sums[node] = call.sums[node];
    work.is_new[node] = call.is_new[node];
  }
  work.weights = call.weights;
  work.mean = call.statistics;
  work.inverse_deviation = call.statistics + int64_t(call.num_rows) * call.channels;
  return num_edges == call.num_edges && work.num_rows == call.num_rows;
}

template <int V, typename S> bool fits_vectors(const Work<S> &work) {
  bool fits = true;
  for (int row = 0; row < work.num_rows; ++row) {
    fits = fits && channelwise::fits_vectors<V>(work.rows[row].y, work.channels) &&
           channelwise::fits_vectors<V>(work.rows[row].gradient, work.channels);
  }
  for (int node = 0; node < work.num_nodes; ++node) {
    fits = fits && channelwise::fits_vectors<V>(work.sums[node], work.channels);
  }
  return fits;
}

// Calls `visit.operator()<V>()` for the vectors that all of a call's tensors can be read in: 16 bytes of a sum.
template <typename S, typename Visit> int with_vectors(const Work<S> &work, const Visit &visit) {
  constexpr int kMost = kVector<Compute<S>>;
  return fits_vectors<kMost>(work) ? visit.template operator()<kMost>() : visit.template operator()<1>();
}

// A workspace, forward or backward. Moments are [rows, channels, chunks]. Shares are a chunk's sums: for each edge of its node's
// gradient times y - mean, then for each node of the gradient, [edges + nodes, channels, chunks].
template <typename S> struct Workspace {
  using T = Compute<S>;
  ChunkMoments *moments;

  double *contributions; // to the gradient of each edge's weight: [edges, channels]
  T *shift, *curvature;  // of the gradient of y: [rows, channels]
  T *shares;
  int64_t bytes;

  explicit Workspace(const CudaCall<S> &call) {
    const int64_t channels = call.channels, chunks = CudaChunks::of(call.pixels).count;
    cuda::Parts forward(call.workspace), backward(call.workspace);
    forward.cut(moments, call.num_rows * channels * chunks);
    backward.cut(contributions, call.num_edges * channels);
    backward.cut(shift, call.num_rows * channels);
    backward.cut(curvature, call.num_rows * channels);
    backward.cut(shares, (call.num_edges + call.num_nodes) * channels * chunks);
    bytes = forward.bytes() > backward.bytes() ? forward.bytes() : backward.bytes();
  }
};

template <typename S> int64_t workspace_bytes(const CudaCall<S> &call) { return Workspace<S>(call).bytes; }

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
  __shared__ Compute<S> shared[kMomentsShared<V>];
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

// ---- Passes that scale ----

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

// ---- Sums of gradients ----

template <typename S> struct SumsWork {
  Work<S> work;
  int num_groups;
  Group groups[kMaxCudaEdges];
  Compute<S> *shares;
};

// Blocks: [chunks][groups][tiles].
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads, 3) sum_products(SumsWork<S> sums_work, CudaTiling tiling, CudaChunks chunks) {
  using T = Compute<S>;
  constexpr int kSums = kGroupEdges + 1;
  __shared__ T shared[kSums * V * kCudaThreads];
  const Work<S> &work = sums_work.work;
  const Group &group = sums_work.groups[blockIdx.x / tiling.tiles];
  const CudaPlace place(tiling, blockIdx.x % tiling.tiles);
  const int chunk = blockIdx.y, channels = work.channels, length = chunks.length(chunk), channel = place.vector * V;
  const int64_t begin = chunks.begin(chunk);
  T sums[kSums * V] = {};
  if (place.is_active) {
    const T *gradient = work.sums[group.node] + (begin + place.row) * channels + channel;
    const S *ys[kGroupEdges];
    int steps[kGroupEdges];
    T means[kGroupEdges][V];
#pragma unroll
    for (int edge = 0; edge < kGroupEdges; ++edge) {
      // Those that there are not repeat the first, whose values the cache holds.
      const int row = work.row_of[group.edges[edge < group.num_edges ? edge : 0]];
      steps[edge] = work.rows[row].step;
      ys[edge] = work.rows[row].y + (begin + place.row) * steps[edge] + channel;
      steps[edge] *= tiling.rows;
      load<T, V>(work.mean + row * channels + channel, means[edge]);
    }
    for (int pixel = place.row; pixel < length; pixel += tiling.rows) {
      T factor[V], values[kGroupEdges][V];
      load<T, V>(gradient, factor);
      gradient += channels * tiling.rows;
#pragma unroll
      for (int edge = 0; edge < kGroupEdges; ++edge) {
        load<S, V>(ys[edge], values[edge]);
        ys[edge] += steps[edge];
      }
#pragma unroll
      for (int edge = 0; edge < kGroupEdges; ++edge) {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          sums[edge * V + index] += factor[index] * (values[edge][index] - means[edge][index]);
        }
      }
#pragma unroll
      for (int index = 0; index < V; ++index) {
        sums[kGroupEdges * V + index] += factor[index];
      }
    }
  }
  sum_over_rows(tiling, place, sums, shared);
  if (place.is_active && place.row == 0) {
#pragma unroll
    for (int edge = 0; edge < kSums; ++edge) {
      int slot = -1;
      if (edge == kGroupEdges) {
        slot = group.is_first ? work.num_edges + group.node : -1;
      } else if (edge < group.num_edges) {
        slot = group.edges[edge];
      }
      if (slot >= 0) {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          sums_work.shares[(int64_t(slot) * channels + channel + index) * chunks.count + chunk] = sums[edge * V + index];
        }
      }
    }
  }
}

// What settle_gradients leaves.
template <typename T> struct Coefficients {
  double *contributions;
  T *shift, *curvature;
};

// The sum of a channel's shares, this lane's part.
template <typename T> __device__ __forceinline__ double lane_sum(const T *shares, int chunks) {
  double sum = 0;
  for (int chunk = threadIdx.x % cuda::kWarp; chunk < chunks; chunk += cuda::kWarp) {
    sum += double(shares[chunk]);
  }
  return sum;
}

// A warp for each channel of each row. With the edges' scales a = weight / deviation, the gradient of y is
// sum of a * G over the edges + shift + curvature * y.
template <typename S>
__global__ void __launch_bounds__(kCudaThreads)
    settle_gradients(Work<S> work, int chunks, const Compute<S> *shares, Coefficients<Compute<S>> to, bool want_weights) {
  using T = Compute<S>;
  const int position = blockIdx.x * kWarps + threadIdx.x / cuda::kWarp, channels = work.channels;
  const int index = position / channels, channel = position - index * channels;
  if (index >= work.num_rows) {
    return;
  }
  const Row<S> &row = work.rows[index];
  const bool is_bent = row.gradient && row.depends_on_batch, is_lane_0 = threadIdx.x % cuda::kWarp == 0;
  if (!is_bent && !want_weights) {
    return;
  }
  const double inverse = work.inverse_deviation[position];
  double sum = 0, product = 0;
  for (int edge = row.first_edge; edge < row.first_edge + row.num_edges; ++edge) {
    const int node = work.node_of[edge];
    double of_edge = 0;
    if (work.sums[node]) {
      const double scale = double(work.weights[work.weight_of[edge]]) * inverse;
      of_edge = lane_sum(shares + (int64_t(edge) * channels + channel) * chunks, chunks);
      product += scale * of_edge;
      if (is_bent) {
        sum += scale * lane_sum(shares + (int64_t(work.num_edges + node) * channels + channel) * chunks, chunks);
      }
    }
    if (want_weights) {
      of_edge = cuda::warp_sum(of_edge);
      if (is_lane_0) {
        to.contributions[int64_t(edge) * channels + channel] = of_edge * inverse;
      }
    }
  }
  if (is_bent) {
    sum = cuda::warp_sum(sum);
    product = cuda::warp_sum(product);
    if (is_lane_0) {
      const double curvature = -inverse * inverse * product / work.pixels;
      to.curvature[position] = T(curvature);
      to.shift[position] = T(-sum / work.pixels - curvature * double(work.mean[position]));
    }
  }
}

// ---- Gradients ----

template <typename S> struct GradientWork {
  using T = Compute<S>;
  Work<S> work;
  int num_rows;
  unsigned char rows[kMaxCudaEdges]; // whose gradients are wanted
  Coefficients<T> from;
  T *weights_gradient;
};

// A warp for each edge.
template <typename S> __device__ __forceinline__ void write_weights_gradient(const GradientWork<S> &gradients) {
  using T = Compute<S>;
  const Work<S> &work = gradients.work;
  for (int edge = threadIdx.x / cuda::kWarp; edge < work.num_edges; edge += kWarps) {
    double total = 0;
    for (int channel = threadIdx.x % cuda::kWarp; channel < work.channels; channel += cuda::kWarp) {
      total += gradients.from.contributions[int64_t(edge) * work.channels + channel];
    }
    total = cuda::warp_sum(total);
    if (threadIdx.x % cuda::kWarp == 0) {
      gradients.weights_gradient[work.weight_of[edge]] = T(total);
    }
  }
}

// For up to N nodes. Shared memory: scales [edges], shifts and curvatures [wanted rows], of the tile's channels. If
// the gradient of the weights is wanted, the first row of blocks is for that alone.
template <typename S, int V, int N>
__global__ void __launch_bounds__(kCudaThreads)
    write_gradients(GradientWork<S> gradients, CudaTiling tiling, int stretch_size) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, scales);
  const Work<S> &work = gradients.work;
  if (gradients.weights_gradient && blockIdx.y == 0) {
    if (blockIdx.x == 0) {
      write_weights_gradient(gradients);
    }
    return;
  }
  const int channels = work.channels, tile_channels = tiling.width * V, first_of_tile = blockIdx.x * tile_channels;
  T *const shifts = scales + work.num_edges * tile_channels, *const curvatures = shifts + gradients.num_rows * tile_channels;
  fill(scales, work.num_edges, channels, first_of_tile, tile_channels, [&](int edge, int channel) {
    return work.weights[work.weight_of[edge]] * work.inverse_deviation[work.row_of[edge] * channels + channel];
  });
  const auto coefficient = [&](const T *from) {
    return [&gradients, from, channels](int index, int channel) {
      const int row = gradients.rows[index];
      return gradients.work.rows[row].depends_on_batch ? from[row * channels + channel] : T(0);
    };
  };
  fill(shifts, gradients.num_rows, channels, first_of_tile, tile_channels, coefficient(gradients.from.shift));
  fill(curvatures, gradients.num_rows, channels, first_of_tile, tile_channels, coefficient(gradients.from.curvature));
  __syncthreads();
  const CudaPlace place(tiling, blockIdx.x);
  if (!place.is_active) {
    return;
  }
  const int channel = place.vector * V, offset = channel - first_of_tile;
  const Stretch stretch(work.pixels, stretch_size);
  for (int64_t pixel = stretch.begin + place.row; pixel < stretch.end; pixel += tiling.rows) {
    T of_nodes[N][V];
#pragma unroll
    for (int node = 0; node < N; ++node) {
      if (node < work.num_nodes && work.sums[node]) {
        load<T, V>(work.sums[node] + pixel * channels + channel, of_nodes[node]);
      } else {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          of_nodes[node][index] = 0;
        }
      }
    }
    for (int first = 0; first < gradients.num_rows; first += kCudaLoads) {
      T values[kCudaLoads][V];
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
        if (first + step < gradients.num_rows) {
          const Row<S> &row = work.rows[gradients.rows[first + step]];
          if (row.depends_on_batch) {
            load<S, V>(row.y + pixel * row.step + channel, values[step]);
          } else {
#pragma unroll
            for (int index = 0; index < V; ++index) {
              values[step][index] = 0;
            }
          }
        }
      }
#pragma unroll
      for (int step = 0; step < kCudaLoads; ++step) {
        if (first + step < gradients.num_rows) {
          const Row<S> &row = work.rows[gradients.rows[first + step]];
          T shift[V], curvature[V];
          load<T, V>(shifts + (first + step) * tile_channels + offset, shift);
          load<T, V>(curvatures + (first + step) * tile_channels + offset, curvature);
#pragma unroll
          for (int index = 0; index < V; ++index) {
            values[step][index] = curvature[index] * values[step][index] + shift[index];
          }
          for (int edge = row.first_edge; edge < row.first_edge + row.num_edges; ++edge) {
            T scale[V];
            load<T, V>(scales + edge * tile_channels + offset, scale);
            add_chosen(values[step], of_nodes, work.node_of[edge], scale);
          }
          store<S, V>(values[step], row.gradient + pixel * row.step + channel);
        }
      }
    }
  }
}

// The edges whose sums are needed, in groups that share their node.
template <typename S> void group_edges(SumsWork<S> &sums, bool want_weights) {
  const Work<S> &work = sums.work;
  for (int node = 0; node < work.num_nodes; ++node) {
    int added = 0;
    for (int edge = 0; edge < work.num_edges; ++edge) {
      const Row<S> &row = work.rows[work.row_of[edge]];
      const bool is_needed = want_weights || (row.gradient && row.depends_on_batch);
      if (work.sums[node] && work.node_of[edge] == node && is_needed) {
        if (added % kGroupEdges == 0) {
          sums.groups[sums.num_groups++] = {static_cast<unsigned char>(node), 0, {}, added == 0};
        }
        Group &group = sums.groups[sums.num_groups - 1];
        group.edges[group.num_edges++] = edge;
        ++added;
      }
    }
  }
}

template <typename S, int V> int launch_products(const SumsWork<S> &sums, const CudaChunks &chunks, cuda::Stream stream) {
  const auto tiling = CudaTiling::of(sums.work.channels / V, kMostVectors);
  PDARTS_LAUNCH((sum_products<S, V>), dim3(sums.num_groups * tiling.tiles, chunks.count), dim3(kCudaThreads), 0, stream,
                sums, tiling, chunks);
  return cuda::launch_result();
}

template <typename S, int V, int N> int launch_gradients(const GradientWork<S> &gradients, cuda::Stream stream) {
  ScalingGrid grid(gradients.work.pixels, gradients.work.channels / V);
  if (gradients.num_rows == 0) {
    grid.blocks = dim3(1, 0);
  }
  grid.blocks.y += gradients.weights_gradient ? 1 : 0;
  const size_t rows = gradients.work.num_edges + 2 * gradients.num_rows;
  const size_t shared_bytes = sizeof(Compute<S>) * rows * grid.tiling.width * V;
  PDARTS_LAUNCH((write_gradients<S, V, N>), grid.blocks, dim3(kCudaThreads), shared_bytes, stream, gradients, grid.tiling,
                grid.size);
  return cuda::launch_result();
}

template <typename S> int backward(const CudaCall<S> &call, cuda::Stream stream) {
  SumsWork<S> sums{};
  if (!describe(call, sums.work)) {
    return kInvalidValue;
  }
  const Work<S> &work = sums.work;
  const auto chunks = CudaChunks::of(call.pixels);
  const Workspace<S> workspace(call);
  const bool want_weights = call.weights_gradient;
  GradientWork<S> gradients{work, 0, {}, {workspace.contributions, workspace.shift, workspace.curvature},
                            call.weights_gradient};
  bool is_bent = false;
  for (int row = 0; row < work.num_rows; ++row) {
    if (work.rows[row].gradient) {
      gradients.rows[gradients.num_rows++] = row;
      is_bent = is_bent || work.rows[row].depends_on_batch;
    }
  }
  group_edges(sums, want_weights);
  sums.shares = workspace.shares;
  return with_vectors(work, [&]<int V>() {
    int result = sums.num_groups > 0 ? launch_products<S, V>(sums, chunks, stream) : 0;
    if (result == 0 && (want_weights || is_bent)) {
      const int blocks = cuda::divide_up(work.num_rows * work.channels, kWarps);
      PDARTS_LAUNCH((settle_gradients<S>), dim3(blocks), dim3(kCudaThreads), 0, stream, work, chunks.count, sums.shares,
                    gradients.from, want_weights);
      result = cuda::launch_result();
    }
    if (result == 0 && (want_weights || gradients.num_rows > 0)) {
      result = call.num_nodes <= 4 ? launch_gradients<S, V, 4>(gradients, stream)
                                   : launch_gradients<S, V, kMaxCudaNodes>(gradients, stream);
    }
    return result;
  });
}

template <typename S> constexpr CudaKernels<S> kKernels = {workspace_bytes<S>, forward<S>, backward<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::mix
