// The kernels behind kernels.h, for the instruction set that this file is compiled for.
//
// Both keep a block of sums in registers, as wide as a few registers of channels: a load of a row serves all sums of its
// columns, a load of a single value all registers.
#pragma once
#include "../lanes.h"
#include "../sizes.h"
#include "kernels.h"

namespace pdarts::separable {
namespace {

// Registers of channels in a block.
constexpr int kMaxRegisters = 4;

template <typename T> inline int64_t num_registers(int64_t channels) { return (channels + kLanes<T> - 1) / kLanes<T>; }

// Calls `visit.operator()<registers>(first)` for blocks of about equal width that cover `total` registers.
template <typename Visit> inline void for_each_block(int64_t total, const Visit &visit) {
  const int64_t blocks = (total + kMaxRegisters - 1) / kMaxRegisters;
  for (int64_t first = 0, left = blocks; left > 0; --left) {
    const int64_t registers = (total - first + left - 1) / left;
    switch (registers) {
    case 1:
      visit.template operator()<1>(first);
      break;
    case 2:
      visit.template operator()<2>(first);
      break;
    case 3:
      visit.template operator()<3>(first);
      break;
    default:
      visit.template operator()<4>(first);
    }
    first += registers;
  }
}

// ---- Products ----

// Pixels whose sums fit into the registers beside the weights of an input and a value.
constexpr int product_pixels(int registers) {
  constexpr int with_16_registers[] = {8, 6, 4, 2}, with_32_registers[] = {12, 8, 8, 6};
  return (kNumRegisters == 32 ? with_32_registers : with_16_registers)[registers - 1];
}

// The outputs of one block for `pixels` adjacent pixels; `count` lanes of the last register are outputs.
template <typename Y, int registers, int pixels>
inline void multiply_block(const Product<Y> &p, int64_t pixel, int64_t first, int64_t row_size, int64_t count) {
  using T = Compute<Y>;
  const T *weights = p.weights + first * kLanes<T>;
  const T *x = p.x.data + pixel * p.x.step;
  Lanes<T> sums[pixels][registers] = {};
  for (int64_t input = 0; input < p.inputs; ++input, weights += row_size) {
    Lanes<T> row[registers];
#pragma GCC unroll 4
    for (int r = 0; r < registers; ++r) {
      row[r] = load(weights + r * kLanes<T>);
    }
#pragma GCC unroll 12
    for (int i = 0; i < pixels; ++i) {
      const T value = x[i * p.x.step + input];
#pragma GCC unroll 4
      for (int r = 0; r < registers; ++r) {
        sums[i][r] += value * row[r];
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < pixels; ++i) {
    Y *y = p.y.data + (pixel + i) * p.y.step + first * kLanes<T>;
#pragma GCC unroll 4
    for (int r = 0; r < registers - 1; ++r) {
      store(y + r * kLanes<T>, sums[i][r]);
    }
    constexpr int last = registers - 1;
    if (count == kLanes<T>) {
      store(y + last * kLanes<T>, sums[i][last]);
    } else {
      store_part(y + last * kLanes<T>, sums[i][last], count);
    }
  }
}

template <typename Y> void multiply(const Product<Y> &p) {
  using T = Compute<Y>;
  const int64_t total = num_registers<T>(p.outputs), row_size = total * kLanes<T>;
  for_each_block(total, [&]<int registers>(int64_t first) {
    constexpr int together = product_pixels(registers);
    const int64_t last = first + registers - 1;
    const int64_t count = smaller(kLanes<T>, p.outputs - last * kLanes<T>);
    int64_t pixel = 0;
    for (; pixel + together <= p.pixels; pixel += together) {
      multiply_block<Y, registers, together>(p, pixel, first, row_size, count);
    }
    for (; pixel < p.pixels; ++pixel) {
      multiply_block<Y, registers, 1>(p, pixel, first, row_size, count);
    }
  });
}

// ---- Outer products ----

// Pixels that a block of sums takes from the cache before the next block does.
constexpr int64_t kChunkPixels = 64;

// Outputs whose sums fit into the registers beside a row of inputs and a value.
constexpr int outer_outputs(int registers) {
  constexpr int with_16_registers[] = {8, 6, 3, 2}, with_32_registers[] = {16, 12, 8, 6};
  return (kNumRegisters == 32 ? with_32_registers : with_16_registers)[registers - 1];
}

template <typename T, int registers, int outputs>
inline void outer_block(const OuterProduct<T> &p, int64_t begin, int64_t end, int64_t first, int64_t output,
                        int64_t row_size) {
  T *to = p.sums + output * row_size + first * kLanes<T>;
  Lanes<T> sums[outputs][registers];
#pragma GCC unroll 16
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < registers; ++r) {
      sums[o][r] = load(to + o * row_size + r * kLanes<T>);
    }
  }
  const T *x = p.x.data + begin * p.x.step + first * kLanes<T>;
  const T *gradient = p.gradient.data + begin * p.gradient.step + output;
  for (int64_t pixel = begin; pixel < end; ++pixel, x += p.x.step, gradient += p.gradient.step) {
    Lanes<T> row[registers];
#pragma GCC unroll 4
    for (int r = 0; r < registers; ++r) {
      row[r] = load(x + r * kLanes<T>);
    }
#pragma GCC unroll 16
    for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
      for (int r = 0; r < registers; ++r) {
        sums[o][r] += gradient[o] * row[r];
      }
    }
  }
#pragma GCC unroll 16
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < registers; ++r) {
      store(to + o * row_size + r * kLanes<T>, sums[o][r]);
    }
  }
}

template <typename T> void add_outer_product(const OuterProduct<T> &p) {
  const int64_t total = num_registers<T>(p.inputs), row_size = total * kLanes<T>;
  for (int64_t begin = 0; begin < p.pixels; begin += kChunkPixels) {
    const int64_t end = smaller(begin + kChunkPixels, p.pixels);
    for_each_block(total, [&]<int registers>(int64_t first) {
      constexpr int together = outer_outputs(registers);
      int64_t output = 0;
      for (; output + together <= p.outputs; output += together) {
        outer_block<T, registers, together>(p, begin, end, first, output, row_size);
      }
      for (; output + 2 <= p.outputs; output += 2) {
        outer_block<T, registers, 2>(p, begin, end, first, output, row_size);
      }
      for (; output < p.outputs; ++output) {
        outer_block<T, registers, 1>(p, begin, end, first, output, row_size);
      }
    });
  }
}

template <typename Y> constexpr Kernels<Y> kKernels = {kLanes<Y>, multiply<Y>, add_outer_product<Compute<Y>>};

} // namespace
} // namespace pdarts::separable
