// The kernels of cuda.h.
#include "cuda.h"
#include "../cuda/batch.h"
#include "cuda_moments.h"

namespace pdarts::channelwise {
namespace {

// Vectors of a tile.
constexpr int kMostVectors = 64;

// ---- Statistics ----

// Blocks: [chunks][tiles].
template <typename S> struct MomentsPart {
  CudaNorm<S> norm;
  CudaTiling tiling;
  CudaChunks chunks;
};
template <typename S> using MomentsBatch = cuda::Batch<MomentsPart<S>, kMostNorms>;

template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) take_moments(const __grid_constant__ MomentsBatch<S> batch) {
  PDARTS_SHARED(Compute<S>, shared, kMomentsShared<V>);
  int block = int(blockIdx.x);
  const MomentsPart<S> &part = batch.own(block);
  const int chunk = block / part.tiling.tiles, tile = block - chunk * part.tiling.tiles;
  chunk_moments<S, V>(part.norm.x, part.norm.channels, part.tiling, tile, part.chunks, chunk,
                      static_cast<ChunkMoments *>(part.norm.workspace), shared);
}

template <typename S> using NormBatch = cuda::Batch<CudaNorm<S>, kMostNorms>;

// A warp for each channel.
template <typename S>
__global__ void __launch_bounds__(kCudaThreads) settle(const __grid_constant__ NormBatch<S> batch) {
  using T = Compute<S>;
  int block = int(blockIdx.x);
  const CudaNorm<S> &norm = batch.own(block);
  const auto chunks = CudaChunks::of(norm.pixels);
  const int channel = (block * kCudaThreads + int(threadIdx.x)) / cuda::kWarp;
  if (channel >= norm.channels) {
    return;
  }
  const auto statistics =
      settled(chunks, static_cast<const ChunkMoments *>(norm.workspace) + int64_t(channel) * chunks.count, norm.training,
              norm.running_mean + channel, norm.running_var + channel);
  if (threadIdx.x % cuda::kWarp == 0) {
    const double gain = norm.weight ? double(norm.weight[channel]) : 1, offset = norm.bias ? double(norm.bias[channel]) : 0;
    const double scale = gain * statistics.inverse_deviation;
    norm.scale[channel] = T(scale);
    norm.shift[channel] = T(offset - scale * statistics.mean);
    norm.mean[channel] = T(statistics.mean);
    norm.inverse_deviation[channel] = T(statistics.inverse_deviation);
  }
}

// Ways to read vectors, the widest first: 16 bytes, 8, one element.
constexpr int kWidths = 3;
template <typename S> constexpr int kWidth[kWidths] = {kVector<S>, kVector<S> / 2, 1};

// Calls `body.operator()<I>()` for each of them.
template <typename Body> void for_each_width(const Body &body) {
  body.template operator()<0>();
  body.template operator()<1>();
  body.template operator()<2>();
}

// The widest in which rows of `channels` elements from each of `data` on can be read.
template <typename S, typename... Data> int width_of(int channels, const Data *...data) {
  const bool whole = (fits_vectors<kWidth<S>[0]>(data, channels) && ...);
  return whole ? 0 : (fits_vectors<kWidth<S>[1]>(data, channels) && ...) ? 1 : 2;
}

template <typename S> int64_t norm_workspace_bytes(int64_t pixels, int channels) {
  return int64_t(sizeof(ChunkMoments)) * channels * CudaChunks::of(pixels).count;
}

template <typename S> int run_norm(const CudaNorm<S> *norms, int num_norms, cuda::Stream stream) {
  MomentsBatch<S> moments[kWidths];
  NormBatch<S> all;
  for (int index = 0; index < num_norms; ++index) {
    const CudaNorm<S> &norm = norms[index];
    if (norm.training) {
      const int width = width_of<S>(norm.channels, norm.x);
      const auto tiling = CudaTiling::of(norm.channels / kWidth<S>[width], kMostVectors);
      const auto chunks = CudaChunks::of(norm.pixels);
      moments[width].add({norm, tiling, chunks}, int64_t(tiling.tiles) * chunks.count, 0);
    }
    all.add(norm, cuda::divide_up(norm.channels, kCudaThreads / cuda::kWarp), 0);
  }
  for_each_width(
      [&]<int I>() { cuda::launch(take_moments<S, kWidth<S>[I]>, moments[I], kCudaThreads, stream); });
  cuda::launch(settle<S>, all, kCudaThreads, stream);
  return cuda::launch_result();
}

// ---- The gradient ----

template <typename S> using ParameterBatch = cuda::Batch<CudaNormGradient<S>, kMostNorms>;

template <typename S>
__global__ void __launch_bounds__(kCudaThreads) write_parameter_gradients(const __grid_constant__ ParameterBatch<S> batch) {
  int block = int(blockIdx.x);
  const CudaNormGradient<S> &gradient = batch.own(block);
  const int channel = block * kCudaThreads + int(threadIdx.x);
  if (channel >= gradient.channels) {
    return;
  }
  if (gradient.bias_gradient) {
    gradient.bias_gradient[channel] = gradient.sums[channel];
  }
  if (gradient.weight_gradient) {
    gradient.weight_gradient[channel] = gradient.sums[gradient.channels + channel] * gradient.inverse_deviation[channel];
  }
}

// Blocks: [strips][tiles]; the first ones of a tile write the gradients of the parameters, too.
template <typename S> struct GradientPart {
  CudaNormGradient<S> gradient;
  CudaTiling tiling;
  int pixels_of_block;
};
template <typename S> using GradientBatch = cuda::Batch<GradientPart<S>, kMostNorms>;

template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) pass_through(const __grid_constant__ GradientBatch<S> batch) {
  using T = Compute<S>;
  int block = int(blockIdx.x);
  const GradientPart<S> &part = batch.own(block);
  const CudaNormGradient<S> &gradient = part.gradient;
  const CudaTiling &tiling = part.tiling;
  const int strip_index = block / tiling.tiles;
  const CudaPlace place(tiling, block - strip_index * tiling.tiles);
  if (!place.is_active) {
    return;
  }
  const int channels = gradient.channels, first_channel = place.vector * V;
  T scale[V], shift[V], curvature[V];
#pragma unroll
  for (int index = 0; index < V; ++index) {
    const int channel = first_channel + index;
    scale[index] = gradient.scale[channel];
    shift[index] = curvature[index] = 0;
    const T sum = gradient.sums[channel], product = gradient.sums[channels + channel];
    const T inverse = gradient.inverse_deviation[channel];
    if (gradient.training) {
      const double factor = double(scale[index]) / double(gradient.pixels);
      const double bend = -factor * double(inverse) * double(inverse) * double(product);
      curvature[index] = T(bend);
      shift[index] = T(-factor * double(sum) - bend * double(gradient.mean[channel]));
    }
    if (strip_index == 0 && place.row == 0) {
      if (gradient.bias_gradient) {
        gradient.bias_gradient[channel] = sum;
      }
      if (gradient.weight_gradient) {
        gradient.weight_gradient[channel] = product * inverse;
      }
    }
  }
  constexpr int kLoads = 2;
  const CudaStrip strip(gradient.pixels, part.pixels_of_block, strip_index);
  for (int64_t pixel = strip.begin + place.row; pixel < strip.end; pixel += kLoads * tiling.rows) {
    T values[kLoads][V], factors[kLoads][V];
#pragma unroll
    for (int step = 0; step < kLoads; ++step) {
      const int64_t at = pixel + step * tiling.rows;
      if (at < strip.end) {
        load<S, V>(gradient.gradient + at * channels + first_channel, values[step]);
        if (gradient.training) {
          load<S, V>(gradient.x + at * channels + first_channel, factors[step]);
        }
      }
    }
#pragma unroll
    for (int step = 0; step < kLoads; ++step) {
      const int64_t at = pixel + step * tiling.rows;
      if (at < strip.end) {
#pragma unroll
        for (int index = 0; index < V; ++index) {
          values[step][index] = scale[index] * values[step][index] + shift[index];
          if (gradient.training) {
            values[step][index] += curvature[index] * factors[step][index];
          }
        }
        store<S, V>(values[step], gradient.gradient + at * channels + first_channel);
      }
    }
  }
}

template <typename S>
int run_norm_gradient(const CudaNormGradient<S> *gradients, int num_gradients, cuda::Stream stream) {
  GradientBatch<S> through[kWidths];
  ParameterBatch<S> parameters;
  for (int index = 0; index < num_gradients; ++index) {
    const CudaNormGradient<S> &gradient = gradients[index];
    if (gradient.gradient) {
      const int width = width_of<S>(gradient.channels, gradient.gradient, gradient.x);
      const auto tiling = CudaTiling::of(gradient.channels / kWidth<S>[width], kMostVectors);
      const CudaStrips strips(gradient.pixels, tiling);
      through[width].add({gradient, tiling, strips.pixels_of_block}, int64_t(strips.blocks.x) * strips.blocks.y, 0);
    } else if (gradient.weight_gradient || gradient.bias_gradient) {
      parameters.add(gradient, cuda::divide_up(gradient.channels, kCudaThreads), 0);
    }
  }
  for_each_width(
      [&]<int I>() { cuda::launch(pass_through<S, kWidth<S>[I]>, through[I], kCudaThreads, stream); });
  cuda::launch(write_parameter_gradients<S>, parameters, kCudaThreads, stream);
  return cuda::launch_result();
}

template <typename S>
constexpr CudaKernels<S> kKernels = {norm_workspace_bytes<S>, run_norm<S>, run_norm_gradient<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::channelwise
