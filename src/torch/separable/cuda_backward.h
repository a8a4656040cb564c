// The backward pass: the gradient of what is between the convolutions, by a product per pixel; the pointwise weights' gradient, for
// which that is computed again; the input's gradient, gathered; the depthwise weights' gradient; the sums of blocks' shares.
#pragma once
#include "../channelwise/cuda_moments.h"
#include "cuda_product.h"

namespace pdarts::separable {

using channelwise::CudaPlace;
using channelwise::CudaTiling;

// Pixels, cut into at most so many chunks whose sums are kept apart.
struct Chunks {
  int64_t pixels;
  int size, count;

  static Chunks of(int64_t pixels, int most, int least_pixels) {
    const int64_t share = (pixels + most - 1) / most, least = share > least_pixels ? share : least_pixels;
    // Pixels that are computed together are of one chunk.
    const int64_t size = (least + kAdjacent - 1) / kAdjacent * kAdjacent;
    return {pixels, int(size), int((pixels + size - 1) / size)};
  }
  PDARTS_HOST_DEVICE int64_t begin(int chunk) const { return int64_t(chunk) * size; }
  PDARTS_HOST_DEVICE int length(int chunk) const {
    const int64_t left = pixels - begin(chunk);
    return left < size ? int(left) : size;
  }
};

// ---- The gradient between the convolutions ----

template <typename T> int64_t middle_shared_elements(const ProductTiling &tiling) {
  return int64_t(tiling.chunk) * (tiling.pixel_step() + tiling.columns());
}

// middle_gradient[pixel][input] = sum over a group's outputs of y_gradient[pixel][output] * pointwise[output][input].
template <typename S, int V, int W>
__global__ void __launch_bounds__(kCudaThreads)
    through_pointwise(CudaBackward<S> call, ProductTiling tiling, Compute<S> *middle_gradient) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, shared);
  const CudaShape &s = call.shape;
  const int inputs = s.inputs(), chunk = tiling.chunk, columns = tiling.columns();
  T *gradient = shared, *pointwise = gradient + chunk * tiling.pixel_step();
  const ProductPlace place(tiling, inputs);
  const int64_t num_pixels = int64_t(s.images) * s.out_height * s.out_width;
  const int own_column = int(threadIdx.x) % tiling.column_quads * kQuad;
  const int own_pixel = int(threadIdx.x) / tiling.column_quads * kQuad;
  const bool is_active = own_pixel < tiling.pixels();
  Quad<T> quad;
  for (int first = 0; first < s.outputs; first += chunk) {
    const int count = s.outputs - first < chunk ? s.outputs - first : chunk, vectors = count / W;
    __syncthreads();
    const T *weights = call.pointwise + int64_t(place.group * s.outputs + first) * inputs + place.first_column;
    for (int position = threadIdx.x; position < count * columns; position += kCudaThreads) {
      const int row = position / columns, column = position - row * columns;
      pointwise[position] = column < place.num_columns ? weights[int64_t(row) * inputs + column] : T(0);
    }
    const int step = s.groups * s.outputs;
    const S *from = call.y_gradient + place.first_pixel * step + place.group * s.outputs + first;
    for (int item = threadIdx.x; item < vectors * tiling.pixels(); item += kCudaThreads) {
      const int pixel = item / vectors, row = (item - pixel * vectors) * W;
      T values[W] = {};
      if (place.first_pixel + pixel < num_pixels) {
        cuda::load<S, W>(from + int64_t(pixel) * step + row, values);
      }
#pragma unroll
      for (int index = 0; index < W; ++index) {
        gradient[(row + index) * tiling.pixel_step() + pixel] = values[index];
      }
    }
    __syncthreads();
    if (is_active) {
      quad.add(count, gradient + own_pixel, tiling.pixel_step(), pointwise + own_column, columns);
    }
  }
  if (is_active) {
    T *to = middle_gradient + place.first_pixel * s.middle + place.group * inputs + place.first_column;
    store_quad<T, V>(quad, place, num_pixels, own_pixel, own_column, s.middle, to);
  }
}

// ---- The pointwise weights' gradient ----

// A block takes a tile of outputs and one of inputs of a group and a chunk of pixels, so many of which it has in shared memory at
// a time; a thread takes 4 x 4 weights and every so manyth pixel.
struct OuterTiling {
  int output_tiles, output_quads, input_tiles, input_quads, lanes, pixels;

  static OuterTiling of(int outputs, int inputs) {
    constexpr int kMost = 64, kElements = 4096;
    const auto quads_of = [](int count) {
      return cuda::divide_up(cuda::divide_up(count, cuda::divide_up(count, kMost)), kQuad);
    };
    const int output_quads = quads_of(outputs), input_quads = quads_of(inputs);
    const int lanes = kCudaThreads / (output_quads * input_quads);
    const int fitting = kElements / ((output_quads + input_quads) * kQuad);
    return {cuda::divide_up(outputs, output_quads * kQuad),
            output_quads,
            cuda::divide_up(inputs, input_quads * kQuad),
            input_quads,
            lanes,
            (fitting < 128 ? fitting : 128) / kAdjacent * kAdjacent};
  }
  PDARTS_HOST_DEVICE int outputs() const { return output_quads * kQuad; }
  PDARTS_HOST_DEVICE int inputs() const { return input_quads * kQuad; }
  PDARTS_HOST_DEVICE int threads() const { return output_quads * input_quads * lanes; }
};

template <typename T> int64_t outer_shared_elements(const OuterTiling &tiling, int taps) {
  const int64_t pixels = int64_t(tiling.pixels) * (tiling.outputs() + tiling.inputs()) + int64_t(taps) * tiling.inputs();
  const int64_t sums = int64_t(tiling.threads()) * kQuad * kQuad;
  return pixels > sums ? pixels : sums;
}

// shares[chunk][group][output][input]. Blocks: [chunks, groups * output tiles * input tiles].
template <typename S, int K, int V, int W, int D>
__global__ void __launch_bounds__(kCudaThreads, D > 0 ? 2 : 1)
    outer_product(CudaBackward<S> call, OuterTiling tiling, Chunks chunks, Compute<S> *shares) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, shared);
  const CudaShape &s = call.shape;
  const int inputs = s.inputs(), tile_inputs = tiling.inputs(), tile_outputs = tiling.outputs();
  int tile = blockIdx.y;
  const int first_input = tile % tiling.input_tiles * tile_inputs;
  tile /= tiling.input_tiles;
  const int first_output = tile % tiling.output_tiles * tile_outputs, group = tile / tiling.output_tiles;
  const int num_inputs = inputs - first_input < tile_inputs ? inputs - first_input : tile_inputs;
  const int num_outputs = s.outputs - first_output < tile_outputs ? s.outputs - first_output : tile_outputs;
  T *gradient = shared, *middle = gradient + tiling.pixels * tile_outputs, *taps = middle + tiling.pixels * tile_inputs;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  const int first_middle = group * inputs + first_input;
  share_taps(call.depthwise + first_middle * K * K, num_inputs, K * K, tile_inputs, taps);
  // What is never written stays out of the sums.
  for (int position = threadIdx.x; position < tiling.pixels * (tile_outputs + tile_inputs); position += kCudaThreads) {
    shared[position] = 0;
  }
  const int quads = tiling.output_quads * tiling.input_quads, lane = int(threadIdx.x) / quads;
  const int own = int(threadIdx.x) % quads;
  const int own_output = own / tiling.input_quads * kQuad, own_input = own % tiling.input_quads * kQuad;
  const bool is_active = lane < tiling.lanes;
  T sums[kQuad][kQuad] = {};
  const int length = chunks.length(blockIdx.x), step = s.groups * s.outputs;
  const int vectors = num_inputs / V, output_vectors = num_outputs / W;
  for (int begin = 0; begin < length; begin += tiling.pixels) {
    const int count = length - begin < tiling.pixels ? length - begin : tiling.pixels;
    const int64_t first_pixel = chunks.begin(blockIdx.x) + begin;
    __syncthreads();
    const S *from = call.y_gradient + first_pixel * step + group * s.outputs + first_output;
    for (int item = threadIdx.x; item < count * output_vectors; item += kCudaThreads) {
      const int pixel = item / output_vectors, output = (item - pixel * output_vectors) * W;
      T values[W];
      cuda::load<S, W>(from + int64_t(pixel) * step + output, values);
#pragma unroll
      for (int index = 0; index < W; ++index) {
        gradient[pixel * tile_outputs + output + index] = values[index];
      }
    }
    if constexpr (D > 0) {
      for (int item = threadIdx.x; item < count / kAdjacent * vectors; item += kCudaThreads) {
        const int first = item / vectors, channel = (item - first * vectors) * V;
        T values[kAdjacent][V] = {};
        depthwise_at_adjacent<S, K, D, V>(s, input,
                                          Pixel::of(first_pixel + first * kAdjacent, s.out_height, s.out_width),
                                          first_middle + channel, taps + channel, tile_inputs, values);
#pragma unroll
        for (int pixel = 0; pixel < kAdjacent; ++pixel) {
          cuda::store<T, V>(values[pixel], middle + (first * kAdjacent + pixel) * tile_inputs + channel);
        }
      }
    }
    for (int item = threadIdx.x; D == 0 && item < count * vectors; item += kCudaThreads) {
      const int pixel = item / vectors, channel = (item - pixel * vectors) * V;
      T values[V];
      depthwise_at<S, K, V>(s, input, Pixel::of(first_pixel + pixel, s.out_height, s.out_width), first_middle + channel,
                            taps + channel, tile_inputs, values);
#pragma unroll
      for (int index = 0; index < V; ++index) {
        middle[pixel * tile_inputs + channel + index] = values[index];
      }
    }
    __syncthreads();
    if (is_active) {
      for (int pixel = lane; pixel < count; pixel += tiling.lanes) {
        T of_output[kQuad], of_input[kQuad];
        cuda::load<T, kQuad>(gradient + pixel * tile_outputs + own_output, of_output);
        cuda::load<T, kQuad>(middle + pixel * tile_inputs + own_input, of_input);
#pragma unroll
        for (int output = 0; output < kQuad; ++output) {
#pragma unroll
          for (int index = 0; index < kQuad; ++index) {
            sums[output][index] += of_output[output] * of_input[index];
          }
        }
      }
    }
  }
  // The lanes' sums, added up in their order.
  __syncthreads();
  if (is_active) {
#pragma unroll
    for (int position = 0; position < kQuad * kQuad; ++position) {
      shared[(lane * quads + own) * kQuad * kQuad + position] = sums[position / kQuad][position % kQuad];
    }
  }
  __syncthreads();
  T *to = shares + (int64_t(blockIdx.x) * s.groups * s.outputs + group * s.outputs + first_output) * inputs + first_input;
  for (int position = threadIdx.x; position < num_outputs * num_inputs; position += kCudaThreads) {
    const int output = position / num_inputs, index = position - output * num_inputs;
    const int quad = output / kQuad * tiling.input_quads + index / kQuad, place = output % kQuad * kQuad + index % kQuad;
    T total = 0;
    for (int other = 0; other < tiling.lanes; ++other) {
      total += shared[(other * quads + quad) * kQuad * kQuad + place];
    }
    to[int64_t(output) * inputs + index] = total;
  }
}

// ---- The input's gradient ----

// A thread's vector of input channels over the pixels of its chunk; shares of norm_sums: [chunk][2][channels].
// Blocks: [chunks, tiles of channels].
template <typename S, int K, int V, int D>
__global__ void __launch_bounds__(kCudaThreads)
    gather_input(CudaBackward<S> call, CudaTiling tiling, Chunks chunks, const Compute<S> *middle_gradient,
                 Compute<S> *norm_shares) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, shared);
  const CudaShape &s = call.shape;
  const CudaPlace place(tiling, blockIdx.y);
  const int edges = s.middle / s.channels, tile_channels = tiling.width * V;
  const int first_channel = int(blockIdx.y) * tile_channels;
  const int left = s.channels - first_channel, num_channels = left < tile_channels ? left : tile_channels;
  // [edges][taps][channels of the tile]
  for (int edge = 0; edge < edges; ++edge) {
    share_taps(call.depthwise + (edge * s.channels + first_channel) * K * K, num_channels, K * K, tile_channels,
               shared + edge * K * K * tile_channels);
  }
  __syncthreads();
  const CudaInput<S> input{call.x, call.scale, call.shift};
  const int channel = place.vector * V, padding = s.dilation * (K - 1) / 2;
  const T *taps = shared + channel - first_channel;
  T sums[2 * V] = {};
  if (place.is_active) {
    const int length = chunks.length(blockIdx.x);
    // What a pixel at `position` passes on of its gradient, which is stored and, for BatchNorm, summed up.
    const auto finish = [&](int64_t position, T (&gradient)[V]) {
      T raw[V];
      cuda::load<S, V>(call.x + position * s.channels + channel, raw);
#pragma unroll
      for (int part = 0; part < V; ++part) {
        const T scaled = input.scale ? raw[part] * input.scale[channel + part] + input.shift[channel + part] : raw[part];
        gradient[part] = scaled <= 0 ? T(0) : gradient[part];
        if (norm_shares) {
          // As it is stored, which is what BatchNorm's gradient goes on with.
          const T stored = cuda::widened<S>(cuda::narrowed<S>(gradient[part]));
          sums[part] += stored;
          sums[V + part] += stored * (raw[part] - call.mean[channel + part]);
        }
      }
      cuda::store<S, V>(gradient, call.x_gradient + position * s.channels + channel);
    };
    if constexpr (D > 0) {
      for (int index = place.row * kAdjacent; index < length; index += tiling.rows * kAdjacent) {
        const int64_t position = chunks.begin(blockIdx.x) + index;
        const Pixel pixel = Pixel::of(position, s.height, s.width);
        const T *image = middle_gradient + pixel.image * s.height * s.width * s.middle + channel;
        T gradients[kAdjacent][V] = {};
#pragma unroll 1
        for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
          const int row = pixel.row + ((K - 1) / 2 - kernel_row) * D;
          if (row < 0 || row >= s.height) {
            continue;
          }
          for (int edge = 0; edge < edges; ++edge) {
            T values[kReadColumns<K, D, V>][V];
            read_row<K, D, V>(image + row * s.width * s.middle + edge * s.channels, s.middle, pixel.column, s.width,
                              [](T value, int) { return value; }, values);
            // The last tap reads to the left.
            add_row<K, D, V>(values, taps + ((edge * K + kernel_row) * K + K - 1) * tile_channels, -tile_channels, gradients);
          }
        }
#pragma unroll
        for (int pixel_index = 0; pixel_index < kAdjacent; ++pixel_index) {
          finish(position + pixel_index, gradients[pixel_index]);
        }
      }
    }
    for (int index = place.row; D == 0 && index < length; index += tiling.rows) {
      const int64_t position = chunks.begin(blockIdx.x) + index;
      const Pixel pixel = Pixel::of(position, s.height, s.width);
      const T *image = middle_gradient + pixel.image * s.out_height * s.out_width * s.middle + channel;
      T gradient[V] = {};
#pragma unroll
      for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
        const int row = pixel.row + padding - kernel_row * s.dilation;
        if (row < 0 || (s.stride == 2 && row % 2 != 0) || row / s.stride >= s.out_height) {
          continue;
        }
        const T *from = image + int64_t(row / s.stride * s.out_width) * s.middle;
        for (int edge = 0; edge < edges; ++edge) {
          // All of a row are read before any is looked at.
          T values[K][V];
#pragma unroll
          for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
            const int column = pixel.column + padding - kernel_column * s.dilation;
            const bool is_inside = column >= 0 && (s.stride == 1 || column % 2 == 0) && column / s.stride < s.out_width;
            cuda::load<T, V>(from + (is_inside ? column / s.stride : 0) * s.middle + edge * s.channels, values[kernel_column]);
#pragma unroll
            for (int part = 0; part < V; ++part) {
              values[kernel_column][part] = is_inside ? values[kernel_column][part] : T(0);
            }
          }
          const T *of_row = taps + (edge * K + kernel_row) * K * tile_channels;
#pragma unroll
          for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
#pragma unroll
            for (int part = 0; part < V; ++part) {
              gradient[part] += values[kernel_column][part] * of_row[kernel_column * tile_channels + part];
            }
          }
        }
      }
      finish(position, gradient);
    }
  }
  if (norm_shares) {
    __syncthreads();
    channelwise::sum_over_rows(tiling, place, sums, shared);
    if (place.is_active && place.row == 0) {
      T *to = norm_shares + int64_t(blockIdx.x) * 2 * s.channels + channel;
#pragma unroll
      for (int part = 0; part < V; ++part) {
        to[part] = sums[part];
        to[s.channels + part] = sums[V + part];
      }
    }
  }
}

// ---- The depthwise weights' gradient ----

// A thread's V middle channels, all taps, over the output pixels of its chunk; shares: [chunk][middle][taps].
// Blocks: [chunks, tiles of middle channels].
template <typename S, int K, int V, int D>
__global__ void __launch_bounds__(kCudaThreads)
    gather_taps(CudaBackward<S> call, CudaTiling tiling, Chunks chunks, const Compute<S> *middle_gradient,
                Compute<S> *shares) {
  using T = Compute<S>;
  __shared__ T shared[V * kCudaThreads];
  const CudaShape &s = call.shape;
  const CudaPlace place(tiling, blockIdx.y);
  const int middle = place.vector * V, channel = middle % s.channels, padding = s.dilation * (K - 1) / 2;
  const CudaInput<S> input{call.x, call.scale, call.shift};
  T sums[K * K][V] = {};
  if (place.is_active) {
    const int length = chunks.length(blockIdx.x);
    T scale[V], shift[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      scale[part] = input.scale ? input.scale[channel + part] : T(1);
      shift[part] = input.scale ? input.shift[channel + part] : T(0);
    }
    if constexpr (D > 0) {
      for (int index = place.row * kAdjacent; index < length; index += tiling.rows * kAdjacent) {
        const int64_t position = chunks.begin(blockIdx.x) + index;
        const Pixel pixel = Pixel::of(position, s.out_height, s.out_width);
        T gradient[kAdjacent][V];
#pragma unroll
        for (int of = 0; of < kAdjacent; ++of) {
          cuda::load<T, V>(middle_gradient + (position + of) * s.middle + middle, gradient[of]);
        }
        const S *image = call.x + pixel.image * s.height * s.width * s.channels + channel;
#pragma unroll
        for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
          const int row = pixel.row + (kernel_row - (K - 1) / 2) * D;
          if (row >= 0 && row < s.height) {
            T values[kReadColumns<K, D, V>][V];
            read_row<K, D, V>(image + row * s.width * s.channels, s.channels, pixel.column, s.width,
                              [&](T value, int part) { return relu(value * scale[part] + shift[part]); }, values);
#pragma unroll
            for (int tap = 0; tap < K; ++tap) {
#pragma unroll
              for (int of = 0; of < kAdjacent; ++of) {
#pragma unroll
                for (int part = 0; part < V; ++part) {
                  sums[kernel_row * K + tap][part] += gradient[of][part] * values[of + tap * D][part];
                }
              }
            }
          }
        }
      }
    }
    for (int index = place.row; D == 0 && index < length; index += tiling.rows) {
      const int64_t position = chunks.begin(blockIdx.x) + index;
      const Pixel pixel = Pixel::of(position, s.out_height, s.out_width);
      T gradient[V];
      cuda::load<T, V>(middle_gradient + position * s.middle + middle, gradient);
      const S *image = call.x + pixel.image * s.height * s.width * s.channels + channel;
#pragma unroll
      for (int kernel_row = 0; kernel_row < K; ++kernel_row) {
        const int row = pixel.row * s.stride - padding + kernel_row * s.dilation;
        if (row < 0 || row >= s.height) {
          continue;
        }
        T values[K][V];
#pragma unroll
        for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
          const int column = pixel.column * s.stride - padding + kernel_column * s.dilation;
          const bool is_inside = column >= 0 && column < s.width;
          cuda::load<S, V>(image + (row * s.width + (is_inside ? column : 0)) * s.channels, values[kernel_column]);
#pragma unroll
          for (int part = 0; part < V; ++part) {
            const T value = relu(values[kernel_column][part] * scale[part] + shift[part]);
            values[kernel_column][part] = is_inside ? value : T(0);
          }
        }
#pragma unroll
        for (int kernel_column = 0; kernel_column < K; ++kernel_column) {
#pragma unroll
          for (int part = 0; part < V; ++part) {
            sums[kernel_row * K + kernel_column][part] += gradient[part] * values[kernel_column][part];
          }
        }
      }
    }
  }
  T *to = shares + (int64_t(blockIdx.x) * s.middle + middle) * K * K;
#pragma unroll
  for (int tap = 0; tap < K * K; ++tap) {
    T of_tap[V];
#pragma unroll
    for (int part = 0; part < V; ++part) {
      of_tap[part] = sums[tap][part];
    }
    __syncthreads();
    channelwise::sum_over_rows(tiling, place, of_tap, shared);
    if (place.is_active && place.row == 0) {
#pragma unroll
      for (int part = 0; part < V; ++part) {
        to[part * K * K + tap] = of_tap[part];
      }
    }
  }
}

// ---- Sums of shares ----

// Rows of shares, [count][size], that are added up in their order into to[size]; nothing where `to` is null.
template <typename T> struct Shares {
  const T *from;
  T *to;
  int size, count;
};

constexpr int kSharesLanes = 32, kSharesThreads = kSharesLanes * cuda::kWarp;

// Blocks of 32 columns; those of the three kinds of shares follow each other.
template <typename T>
__global__ void __launch_bounds__(kSharesThreads) add_shares(Shares<T> first, Shares<T> second, Shares<T> third) {
  __shared__ T sums[kSharesLanes][cuda::kWarp];
  int block = blockIdx.x;
  Shares<T> shares = first;
  for (const Shares<T> &next : {second, third}) {
    const int blocks = shares.to ? cuda::divide_up(shares.size, cuda::kWarp) : 0;
    if (block < blocks) {
      break;
    }
    block -= blocks;
    shares = next;
  }
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
