// The backward pass: sums over the batch for all edges, the coefficients of the gradients, one pass that writes all branches'
// gradients.
#pragma once
#include "cuda_scaling.h"

namespace pdarts::mix {
namespace {

// Edges of one node whose products a block sums up together.
constexpr int kGroupEdges = 4;

// Edges of one node.
struct Group {
  unsigned char node, num_edges, edges[kGroupEdges]; // in Work's order
  bool is_first;                                     // of its node
};

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
  PDARTS_SHARED(T, shared, kSums * V * kCudaThreads);
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

} // namespace
} // namespace pdarts::mix
