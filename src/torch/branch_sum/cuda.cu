// The kernels of cuda.h. Forward: moments of all branches, what to normalise by, one pass that writes the sum. Backward: sums
// over the batch for all branches, the coefficients of the gradients, one pass that writes all branches' gradients.
#include "cuda.h"
#include "../channelwise/cuda_moments.h"
#include "../cuda/workspace.h"

namespace pdarts::branch_sum {
namespace {

using namespace channelwise;

constexpr int kWarps = kCudaThreads / cuda::kWarp, kMax = kMaxCudaBranches;
// Vectors of a tile.
constexpr int kMostVectors = 64;

// Forward or backward.
template <typename S> struct Workspace {
  using T = Compute<S>;
  ChunkMoments *moments; // [branches, channels, chunks]

  T *shares;            // a chunk's sums, of each branch's gradient and of its products: [2, branches, channels, chunks]
  T *shift, *curvature; // of the gradient of y: [branches, channels]
  int64_t bytes;

  explicit Workspace(const CudaCall<S> &call) {
    const int64_t values = int64_t(call.num_branches) * call.channels, chunks = CudaChunks::of(call.pixels).count;
    cuda::Parts forward(call.workspace), backward(call.workspace);
    forward.cut(moments, values * chunks);
    backward.cut(shares, 2 * values * chunks);
    backward.cut(shift, values);
    backward.cut(curvature, values);
    bytes = forward.bytes() > backward.bytes() ? forward.bytes() : backward.bytes();
  }
};

template <typename S> int64_t workspace_bytes(const CudaCall<S> &call) { return Workspace<S>(call).bytes; }

template <int V, typename S> bool fits_vectors(const CudaCall<S> &call) {
  bool fits = channelwise::fits_vectors<V>(call.sum, call.channels) && channelwise::fits_vectors<V>(call.gradient, call.channels);
  for (int index = 0; index < call.num_branches; ++index) {
    const CudaBranch<S> &branch = call.branches[index];
    fits = fits && channelwise::fits_vectors<V>(branch.y, call.channels) &&
           channelwise::fits_vectors<V>(branch.y_gradient, call.channels);
  }
  return fits;
}

// Calls `visit.operator()<V>()` for the vectors that all of a call's tensors can be read in.
template <typename S, typename Visit> int with_vectors(const CudaCall<S> &call, const Visit &visit) {
  return fits_vectors<kVector<S>>(call)       ? visit.template operator()<kVector<S>>()
         : fits_vectors<kVector<S> / 2>(call) ? visit.template operator()<kVector<S> / 2>()
                                              : visit.template operator()<1>();
}

// A branch's values of adjacent channels as they are normalised: gain * (y - mean) / deviation + offset.
template <typename S, int V> struct Norm {
  using T = Compute<S>;
  T mean[V], inverse[V], gain[V], offset[V];

  __device__ __forceinline__ Norm(const CudaCall<S> &call, int index, int first_channel) {
    const CudaBranch<S> &branch = call.branches[index];
    const T *means = call.statistics + int64_t(index) * call.channels;
    const T *inverses = means + int64_t(call.num_branches) * call.channels;
#pragma unroll
    for (int lane = 0; lane < V; ++lane) {
      const int channel = first_channel + lane;
      mean[lane] = means[channel];
      inverse[lane] = inverses[channel];
      gain[lane] = branch.weight ? branch.weight[channel] : T(1);
      offset[lane] = branch.bias ? branch.bias[channel] : T(0);
    }
  }
};

// What an image's values of a branch are multiplied with.
template <typename S> __device__ __forceinline__ Compute<S> mask_at(const CudaCall<S> &call, int index, int64_t pixel) {
  const S *mask = call.branches[index].mask;
  return mask ? cuda::widened<S>(mask[pixel / call.pixels_of_image]) : Compute<S>(1);
}

// ---- Forward ----

// Blocks: [chunks][branches][tiles].
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) take_moments(CudaCall<S> call, CudaTiling tiling, CudaChunks chunks) {
  PDARTS_SHARED(Compute<S>, shared, kMomentsShared<V>);
  const int index = blockIdx.x / tiling.tiles;
  if (!call.branches[index].running_mean) {
    return;
  }
  ChunkMoments *moments = static_cast<ChunkMoments *>(call.workspace) + int64_t(index) * call.channels * chunks.count;
  chunk_moments<S, V>(call.branches[index].y, call.channels, tiling, blockIdx.x % tiling.tiles, chunks, blockIdx.y, moments,
                      shared);
}

// A warp for each channel of each branch.
template <typename S> __global__ void __launch_bounds__(kCudaThreads) settle(CudaCall<S> call, CudaChunks chunks) {
  using T = Compute<S>;
  const int position = blockIdx.x * kWarps + threadIdx.x / cuda::kWarp, index = position / call.channels;
  if (index >= call.num_branches) {
    return;
  }
  const int channel = position - index * call.channels;
  ChannelStatistics statistics{0, 1};
  if (call.branches[index].running_mean) {
    const auto *moments = static_cast<const ChunkMoments *>(call.workspace) + int64_t(position) * chunks.count;
    statistics = settled(chunks, moments, call.training, call.branches[index].running_mean + channel,
                         call.branches[index].running_var + channel);
  }
  if (threadIdx.x % cuda::kWarp == 0) {
    call.statistics[position] = T(statistics.mean);
    call.statistics[int64_t(call.num_branches) * call.channels + position] = T(statistics.inverse_deviation);
  }
}

template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) add_up(CudaCall<S> call, CudaTiling tiling, int pixels_of_block) {
  using T = Compute<S>;
  const CudaPlace place(tiling, blockIdx.x);
  if (!place.is_active) {
    return;
  }
  const int first_channel = place.vector * V, last = call.num_branches - 1;
  // Of a single branch the second is the first again, and not used.
  const Norm<S, V> norms[kMax] = {{call, 0, first_channel}, {call, last, first_channel}};
  const CudaStrip strip(call.pixels, pixels_of_block, blockIdx.y);
  for (int64_t pixel = strip.begin + place.row; pixel < strip.end; pixel += tiling.rows) {
    const int64_t at = pixel * call.channels + first_channel;
    T sums[V] = {};
#pragma unroll
    for (int index = 0; index < kMax; ++index) {
      const T mask = index <= last ? mask_at(call, index, pixel) : T(0);
      // What is left out need not be read.
      if (mask != 0) {
        const Norm<S, V> &norm = norms[index];
        T values[V];
        load<S, V>(call.branches[index].y + at, values);
#pragma unroll
        for (int lane = 0; lane < V; ++lane) {
          sums[lane] += mask * (norm.gain[lane] * norm.inverse[lane] * (values[lane] - norm.mean[lane]) + norm.offset[lane]);
        }
      }
    }
    store<S, V>(sums, call.sum + at);
  }
}

template <typename S> int forward(const CudaCall<S> &call, cuda::Stream stream) {
  const auto chunks = CudaChunks::of(call.pixels);
  return with_vectors(call, [&]<int V>() {
    const auto tiling = CudaTiling::of(call.channels / V, kMostVectors);
    bool is_normalised = false;
    for (int index = 0; index < call.num_branches; ++index) {
      is_normalised = is_normalised || call.branches[index].running_mean;
    }
    int result = 0;
    if (call.training && is_normalised) {
      PDARTS_LAUNCH((take_moments<S, V>), dim3(tiling.tiles * call.num_branches, chunks.count), dim3(kCudaThreads), 0, stream,
                    call, tiling, chunks);
      result = cuda::launch_result();
    }
    if (result == 0) {
      PDARTS_LAUNCH((settle<S>), dim3(cuda::divide_up(call.num_branches * call.channels, kWarps)), dim3(kCudaThreads), 0, stream,
                    call, chunks);
      result = cuda::launch_result();
    }
    if (result == 0) {
      const CudaStrips strips(call.pixels, tiling);
      PDARTS_LAUNCH((add_up<S, V>), strips.blocks, dim3(kCudaThreads), 0, stream, call, tiling, strips.pixels_of_block);
      result = cuda::launch_result();
    }
    return result;
  });
}

// ---- Backward ----

template <typename S> __host__ __device__ __forceinline__ bool is_bent(const CudaCall<S> &call, int index) {
  return call.training && call.branches[index].running_mean && call.branches[index].y_gradient;
}

// Whether a branch's gradients depend on sums over the batch.
template <typename S> __host__ __device__ __forceinline__ bool takes_sums(const CudaCall<S> &call, int index) {
  return is_bent(call, index) || call.branches[index].weight_gradient;
}

// Blocks: [chunks][tiles].
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads)
    sum_products(CudaCall<S> call, CudaTiling tiling, CudaChunks chunks, Compute<S> *shares) {
  using T = Compute<S>;
  PDARTS_SHARED(T, shared, 2 * kMax * V * kCudaThreads);
  const CudaPlace place(tiling, blockIdx.x);
  const int chunk = blockIdx.y, first_channel = place.vector * V;
  T sums[2 * kMax * V] = {};
  if (place.is_active) {
    T means[kMax][V];
#pragma unroll
    for (int index = 0; index < kMax; ++index) {
#pragma unroll
      for (int lane = 0; lane < V; ++lane) {
        means[index][lane] = index < call.num_branches ? call.statistics[index * call.channels + first_channel + lane] : T(0);
      }
    }
    const int64_t begin = chunks.begin(chunk), end = begin + chunks.length(chunk);
    for (int64_t pixel = begin + place.row; pixel < end; pixel += tiling.rows) {
      const int64_t at = pixel * call.channels + first_channel;
      T gradient[V];
      load<S, V>(call.gradient + at, gradient);
#pragma unroll
      for (int index = 0; index < kMax; ++index) {
        const bool is_taken = index < call.num_branches && takes_sums(call, index);
        const T mask = is_taken ? mask_at(call, index, pixel) : T(0);
        if (mask != 0) {
          T values[V];
          load<S, V>(call.branches[index].y + at, values);
#pragma unroll
          for (int lane = 0; lane < V; ++lane) {
            const T through = mask * gradient[lane];
            sums[index * V + lane] += through;
            sums[(kMax + index) * V + lane] += through * (values[lane] - means[index][lane]);
          }
        }
      }
    }
  }
  sum_over_rows(tiling, place, sums, shared);
  if (place.is_active && place.row == 0) {
#pragma unroll
    for (int slot = 0; slot < 2 * kMax; ++slot) {
      const int half = slot / kMax, index = slot % kMax;
      if (index < call.num_branches) {
#pragma unroll
        for (int lane = 0; lane < V; ++lane) {
          const int64_t row = (int64_t(half) * call.num_branches + index) * call.channels + first_channel + lane;
          shares[row * chunks.count + chunk] = sums[slot * V + lane];
        }
      }
    }
  }
}

// A warp for each channel of each branch. With a = weight / deviation, the gradient of y is
// a * mask * G + shift + curvature * (y - mean).
template <typename S>
__global__ void __launch_bounds__(kCudaThreads) settle_gradients(CudaCall<S> call, int chunks, Workspace<S> workspace) {
  using T = Compute<S>;
  const int position = blockIdx.x * kWarps + threadIdx.x / cuda::kWarp, index = position / call.channels;
  if (index >= call.num_branches || !takes_sums(call, index)) {
    return;
  }
  const int channel = position - index * call.channels;
  const int64_t values = int64_t(call.num_branches) * call.channels;
  const CudaBranch<S> &branch = call.branches[index];
  double sum = 0, product = 0;
  for (int chunk = threadIdx.x % cuda::kWarp; chunk < chunks; chunk += cuda::kWarp) {
    sum += double(workspace.shares[int64_t(position) * chunks + chunk]);
    product += double(workspace.shares[(values + position) * chunks + chunk]);
  }
  sum = cuda::warp_sum(sum);
  product = cuda::warp_sum(product);
  if (threadIdx.x % cuda::kWarp == 0) {
    const double inverse = call.statistics[values + position];
    const double scale = inverse * (branch.weight ? double(branch.weight[channel]) : 1);
    workspace.shift[position] = T(-scale * sum / call.pixels);
    workspace.curvature[position] = T(-scale * inverse * inverse * product / call.pixels);
    if (branch.weight_gradient) {
      branch.weight_gradient[channel] = T(product * inverse);
      branch.bias_gradient[channel] = T(sum);
    }
  }
}

template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads)
    write_gradients(CudaCall<S> call, CudaTiling tiling, int pixels_of_block, Workspace<S> workspace) {
  using T = Compute<S>;
  const CudaPlace place(tiling, blockIdx.x);
  if (!place.is_active) {
    return;
  }
  const int first_channel = place.vector * V;
  T scale[kMax][V], shift[kMax][V] = {}, curvature[kMax][V] = {};
#pragma unroll
  for (int index = 0; index < kMax; ++index) {
    if (index < call.num_branches) {
      const Norm<S, V> norm(call, index, first_channel);
#pragma unroll
      for (int lane = 0; lane < V; ++lane) {
        scale[index][lane] = norm.gain[lane] * norm.inverse[lane];
        if (is_bent(call, index)) {
          const int position = index * call.channels + first_channel + lane;
          curvature[index][lane] = workspace.curvature[position];
          shift[index][lane] = workspace.shift[position] - curvature[index][lane] * norm.mean[lane];
        }
      }
    }
  }
  const CudaStrip strip(call.pixels, pixels_of_block, blockIdx.y);
  for (int64_t pixel = strip.begin + place.row; pixel < strip.end; pixel += tiling.rows) {
    const int64_t at = pixel * call.channels + first_channel;
    T gradient[V];
    load<S, V>(call.gradient + at, gradient);
#pragma unroll
    for (int index = 0; index < kMax; ++index) {
      if (index < call.num_branches && call.branches[index].y_gradient) {
        const T mask = mask_at(call, index, pixel);
        T values[V] = {};
        if (is_bent(call, index)) {
          load<S, V>(call.branches[index].y + at, values);
        }
#pragma unroll
        for (int lane = 0; lane < V; ++lane) {
          values[lane] = mask * scale[index][lane] * gradient[lane] + shift[index][lane] + curvature[index][lane] * values[lane];
        }
        store<S, V>(values, call.branches[index].y_gradient + at);
      }
    }
  }
}

template <typename S> int backward(const CudaCall<S> &call, cuda::Stream stream) {
  const auto chunks = CudaChunks::of(call.pixels);
  const Workspace<S> workspace(call);
  bool any_sums = false, any_gradient = false;
  for (int index = 0; index < call.num_branches; ++index) {
    any_sums = any_sums || takes_sums(call, index);
    any_gradient = any_gradient || call.branches[index].y_gradient;
  }
  return with_vectors(call, [&]<int V>() {
    const auto tiling = CudaTiling::of(call.channels / V, kMostVectors);
    int result = 0;
    if (any_sums) {
      PDARTS_LAUNCH((sum_products<S, V>), dim3(tiling.tiles, chunks.count), dim3(kCudaThreads), 0, stream, call, tiling, chunks,
                    workspace.shares);
      result = cuda::launch_result();
      if (result == 0) {
        PDARTS_LAUNCH((settle_gradients<S>), dim3(cuda::divide_up(call.num_branches * call.channels, kWarps)),
                      dim3(kCudaThreads), 0, stream, call, chunks.count, workspace);
        result = cuda::launch_result();
      }
    }
    if (result == 0 && any_gradient) {
      const CudaStrips strips(call.pixels, tiling);
      PDARTS_LAUNCH((write_gradients<S, V>), strips.blocks, dim3(kCudaThreads), 0, stream, call, tiling, strips.pixels_of_block,
                    workspace);
      result = cuda::launch_result();
    }
    return result;
  });
}

template <typename S> constexpr CudaKernels<S> kKernels = {workspace_bytes<S>, forward<S>, backward<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::branch_sum
