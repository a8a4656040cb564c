// The gradient between the convolutions: a product of pixels with the pointwise weights.
#pragma once
#include "cuda_chunks.h"
#include "cuda_product.h"

namespace pdarts::separable {

template <typename T> int64_t middle_shared_elements(const ProductTiling &tiling) {
  return int64_t(tiling.chunk) * (tiling.pixel_step() + tiling.columns());
}

struct MiddlePart {
  int call;
  ProductBlocks blocks;
};
using MiddleBatch = cuda::Batch<MiddlePart, kMostCalls>;

// middle_gradient[pixel][input] = sum over a group's outputs of y_gradient[pixel][output] * pointwise[output][input].
template <typename S, int V>
__global__ void __launch_bounds__(kCudaThreads)
    through_pointwise(const __grid_constant__ BackwardCalls<S> calls, const __grid_constant__ MiddleBatch batch) {
  using T = Compute<S>;
  PDARTS_DYNAMIC_SHARED(T, shared);
  int block = int(blockIdx.x);
  const MiddlePart &part = batch.own(block);
  const CudaBackward<S> &call = calls.of[part.call];
  const ProductTiling &tiling = part.blocks.tiling;
  const CudaShape &s = call.shape;
  const int inputs = s.inputs(), chunk = tiling.chunk, columns = tiling.columns();
  T *gradient = shared, *pointwise = gradient + chunk * tiling.pixel_step();
  const ProductPlace place(part.blocks, block, inputs);
  const int64_t num_pixels = s.out_pixels();
  const int own_column = int(threadIdx.x) % tiling.column_quads * kQuad;
  const int own_pixel = int(threadIdx.x) / tiling.column_quads * kQuad;
  const bool is_active = own_pixel < tiling.pixels();
  Quad<T> quad;
  for (int first = 0; first < s.outputs; first += chunk) {
    const int count = s.outputs - first < chunk ? s.outputs - first : chunk, vectors = count / V;
    __syncthreads();
    const T *weights = call.pointwise + int64_t(place.group * s.outputs + first) * inputs + place.first_column;
    for (int position = threadIdx.x; position < count * columns; position += kCudaThreads) {
      const int row = position / columns, column = position - row * columns;
      pointwise[position] = column < place.num_columns ? weights[int64_t(row) * inputs + column] : T(0);
    }
    const int step = s.groups * s.outputs;
    const S *from = call.y_gradient + place.first_pixel * step + place.group * s.outputs + first;
    for (int item = threadIdx.x; item < vectors * tiling.pixels(); item += kCudaThreads) {
      const int pixel = item / vectors, row = (item - pixel * vectors) * V;
      T values[V] = {};
      if (place.first_pixel + pixel < num_pixels) {
        cuda::load<S, V>(from + int64_t(pixel) * step + row, values);
      }
#pragma unroll
      for (int index = 0; index < V; ++index) {
        gradient[(row + index) * tiling.pixel_step() + pixel] = values[index];
      }
    }
    __syncthreads();
    if (is_active) {
      quad.add(count, gradient + own_pixel, tiling.pixel_step(), pointwise + own_column, columns);
    }
  }
  if (is_active) {
    const int64_t pixel = place.first_pixel + own_pixel;
    T *to = calls.middle_gradients[part.call] + pixel * s.middle + place.group * inputs + place.first_column;
    store_quad<T, V>(quad, place, num_pixels - pixel, own_column, s.middle, to);
  }
}

} // namespace pdarts::separable
