// The kernels of cuda.h.
#include "cuda.h"
#include "cuda_moments.h"

namespace pdarts::channelwise {
namespace {

// Vectors of a tile.
constexpr int kMostVectors = 64;

// ---- Statistics ----

template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads) take_moments(CudaNorm<S> norm, CudaTiling tiling, CudaChunks chunks) {
  __shared__ Compute<S> shared[kMomentsShared<V>];
  chunk_moments<S, V>(norm.x, norm.channels, tiling, blockIdx.x, chunks, blockIdx.y,
                      static_cast<ChunkMoments *>(norm.workspace), shared);
}

// A warp for each channel.
template <typename S> __global__ void __launch_bounds__(kCudaThreads) settle(CudaNorm<S> norm, CudaChunks chunks) {
  using T = Compute<S>;
  const int channel = (blockIdx.x * kCudaThreads + threadIdx.x) / cuda::kWarp;
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

template <typename S, int V> int launch_moments(const CudaNorm<S> &norm, const CudaChunks &chunks, cuda::Stream stream) {
  const auto tiling = CudaTiling::of(norm.channels / V, kMostVectors);
  PDARTS_LAUNCH((take_moments<S, V>), dim3(tiling.tiles, chunks.count), dim3(kCudaThreads), 0, stream, norm, tiling, chunks);
  return cuda::launch_result();
}

template <typename S> int64_t norm_workspace_bytes(int64_t pixels, int channels) {
  return int64_t(sizeof(ChunkMoments)) * channels * CudaChunks::of(pixels).count;
}

template <typename S> int run_norm(const CudaNorm<S> &norm, cuda::Stream stream) {
  const auto chunks = CudaChunks::of(norm.pixels);
  if (norm.training) {
    int result;
    if (fits_vectors<kVector<S>>(norm.x, norm.channels)) {
      result = launch_moments<S, kVector<S>>(norm, chunks, stream);
    } else if (fits_vectors<kVector<S> / 2>(norm.x, norm.channels)) {
      result = launch_moments<S, kVector<S> / 2>(norm, chunks, stream);
    } else {
      result = launch_moments<S, 1>(norm, chunks, stream);
    }
    if (result != 0) {
      return result;
    }
  }
  const int blocks = cuda::divide_up(norm.channels, kCudaThreads / cuda::kWarp);
  PDARTS_LAUNCH((settle<S>), dim3(blocks), dim3(kCudaThreads), 0, stream, norm, chunks);
  return cuda::launch_result();
}

// ---- The gradient ----

template <typename S>
__global__ void __launch_bounds__(kCudaThreads) write_parameter_gradients(CudaNormGradient<S> gradient) {
  const int channel = blockIdx.x * kCudaThreads + threadIdx.x;
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

// Each block takes `pixels_of_block` pixels; the first ones of a tile write the gradients of the parameters, too.
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads)
    pass_through(CudaNormGradient<S> gradient, CudaTiling tiling, int pixels_of_block) {
  using T = Compute<S>;
  const CudaPlace place(tiling, blockIdx.x);
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
    if (blockIdx.y == 0 && place.row == 0) {
      if (gradient.bias_gradient) {
        gradient.bias_gradient[channel] = sum;
      }
      if (gradient.weight_gradient) {
        gradient.weight_gradient[channel] = product * inverse;
      }
    }
  }
  constexpr int kLoads = 2;
  const CudaStrip strip(gradient.pixels, pixels_of_block);
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

template <typename S, int V> int launch_gradient(const CudaNormGradient<S> &gradient, cuda::Stream stream) {
  const auto tiling = CudaTiling::of(gradient.channels / V, kMostVectors);
  const CudaStrips strips(gradient.pixels, tiling);
  PDARTS_LAUNCH((pass_through<S, V>), strips.blocks, dim3(kCudaThreads), 0, stream, gradient, tiling, strips.pixels_of_block);
  return cuda::launch_result();
}

template <int V, typename S> bool gradient_fits_vectors(const CudaNormGradient<S> &gradient) {
  return fits_vectors<V>(gradient.gradient, gradient.channels) && fits_vectors<V>(gradient.x, gradient.channels);
}

template <typename S> int run_norm_gradient(const CudaNormGradient<S> &gradient, cuda::Stream stream) {
  if (!gradient.gradient) {
    if (!gradient.weight_gradient && !gradient.bias_gradient) {
      return 0;
    }
    PDARTS_LAUNCH((write_parameter_gradients<S>), dim3(cuda::divide_up(gradient.channels, kCudaThreads)),
                  dim3(kCudaThreads), 0, stream, gradient);
    return cuda::launch_result();
  }
  if (gradient_fits_vectors<kVector<S>>(gradient)) {
    return launch_gradient<S, kVector<S>>(gradient, stream);
  }
  if (gradient_fits_vectors<kVector<S> / 2>(gradient)) {
    return launch_gradient<S, kVector<S> / 2>(gradient, stream);
  }
  return launch_gradient<S, 1>(gradient, stream);
}

template <typename S>
constexpr CudaKernels<S> kKernels = {norm_workspace_bytes<S>, run_norm<S>, run_norm_gradient<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::channelwise
