// The pointwise half of the GPU kernels: products of pixels with a group's weights, 4 x 4 of a thread at a time.
#pragma once
#include "cuda_window.h"

namespace pdarts::separable {

// Sides of what a thread computes.
constexpr int kQuad = 4;

// The results of a block: so many pixels times a tile of the columns of one group.
struct ProductTiling {
  int column_tiles, column_quads, pixel_quads; // of the group; of a tile; of a block
  int chunk;                                   // rows of the weights at a time

  static constexpr int kMostColumns = 64, kMostPixelQuads = 64;

  // For `columns` results a pixel, each the sum of `rows` products.
  template <typename T> static ProductTiling of(int columns, int rows) {
    const int tiles = cuda::divide_up(columns, kMostColumns);
    const int quads = cuda::divide_up(cuda::divide_up(columns, tiles), kQuad);
    // Whole patches.
    const int pixel_quads = kCudaThreads / quads / kPatchRows * kPatchRows, most = sizeof(T) == sizeof(double) ? 16 : 48;
    const int even = cuda::divide_up(rows, cuda::divide_up(rows, most));
    return {cuda::divide_up(columns, quads * kQuad), quads, pixel_quads < kMostPixelQuads ? pixel_quads : kMostPixelQuads,
            cuda::divide_up(even, kQuad) * kQuad};
  }
  PDARTS_HOST_DEVICE int columns() const { return column_quads * kQuad; }
  PDARTS_HOST_DEVICE int pixels() const { return pixel_quads * kQuad; }
  // A row of pixels in shared memory, with space against conflicts of its banks.
  PDARTS_HOST_DEVICE int pixel_step() const { return pixels() + kQuad; }
};

// A thread's 4 pixels times 4 columns.
template <typename T> struct Quad {
  T sums[kQuad][kQuad] = {};

  // Adds the products of `count` rows: left[row][pixel], right[row][column], whose rows are so many elements apart.
  __device__ __forceinline__ void add(int count, const T *left, int left_step, const T *right, int right_step) {
    for (int row = 0; row < count; ++row) {
      T of_pixel[kQuad], of_column[kQuad];
      cuda::load<T, kQuad>(left + row * left_step, of_pixel);
      cuda::load<T, kQuad>(right + row * right_step, of_column);
#pragma unroll
      for (int pixel = 0; pixel < kQuad; ++pixel) {
#pragma unroll
        for (int column = 0; column < kQuad; ++column) {
          sums[pixel][column] += of_pixel[pixel] * of_column[column];
        }
      }
    }
  }
};

// The blocks of a product: [groups * column tiles][blocks of pixels].
struct ProductBlocks {
  ProductTiling tiling;
  int of_pixels, count;

  ProductBlocks() = default;
  ProductBlocks(const ProductTiling &tiling, int64_t num_pixels, int groups)
      : tiling(tiling), of_pixels(int((num_pixels + tiling.pixels() - 1) / tiling.pixels())),
        count(of_pixels * groups * tiling.column_tiles) {}
};

// What a block of a product with `columns` columns a group works on.
struct ProductPlace {
  int64_t first_pixel; // or place of one
  int group, first_column, num_columns; // of the group

  __device__ __forceinline__ ProductPlace(const ProductBlocks &blocks, int block, int columns) {
    const ProductTiling &tiling = blocks.tiling;
    const int tile = block / blocks.of_pixels;
    first_pixel = int64_t(block - tile * blocks.of_pixels) * tiling.pixels();
    group = tile / tiling.column_tiles;
    first_column = (tile - group * tiling.column_tiles) * tiling.columns();
    num_columns = columns - first_column < tiling.columns() ? columns - first_column : tiling.columns();
  }
};

// to[pixel][column] = a quad; `to`: [num_pixels, step] from the quad's first pixel and the block's first column on. There may be
// fewer pixels than a quad has, and fewer columns than a tile; vectors are all of a group or none.
template <typename S, int V>
__device__ __forceinline__ void store_quad(const Quad<Compute<S>> &quad, const ProductPlace &place, int64_t num_pixels,
                                           int column, int step, S *to) {
#pragma unroll
  for (int index = 0; index < kQuad; ++index) {
    if (index < num_pixels) {
      S *row = to + index * step + column;
      if (V == kQuad) {
        if (column < place.num_columns) {
          cuda::store<S, kQuad>(quad.sums[index], row);
        }
      } else {
        for (int part = 0; part < kQuad && column + part < place.num_columns; ++part) {
          row[part] = cuda::narrowed<S>(quad.sums[index][part]);
        }
      }
    }
  }
}

} // namespace pdarts::separable
