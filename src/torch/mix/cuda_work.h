// What a call works on, as the kernels walk over it.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "../cuda/workspace.h"
#include "cuda.h"

namespace pdarts::mix {
namespace {

using namespace channelwise;

constexpr int kWarps = kCudaThreads / cuda::kWarp;
// Vectors of a tile whose channels are summed up.
constexpr int kMostVectors = 64;
constexpr int kInvalidValue = 1; // cudaErrorInvalidValue

// A block of a branch: [pixels, channels], whose pixels are `step` elements apart.
template <typename S> struct Row {
  const S *y;
  S *gradient;
  Compute<S> *running_mean, *running_var;
  int step;
  unsigned char first_edge, num_edges; // in Work's order of edges
  bool depends_on_batch;
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

} // namespace
} // namespace pdarts::mix
