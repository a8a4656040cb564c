// How passes walk over the pixels of a batch.
#pragma once
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "../activations.h"
#include "../instruction_set.h"
#include "../layout.h"
#include "kernels.h"

namespace pdarts::channelwise {
namespace {

using torch::Tensor;

// Pixels that the operands of all operations pass through a core's cache together.
constexpr int64_t kStepPixels = 32;
// Pixels whose values are summed in their own type; sums over more are in double precision.
constexpr int64_t kChunkPixels = 256;

PDARTS_DEFINE_KERNELS

// ---- Views of tensors as pixels ----

// The distance of adjacent pixels in memory where it is the same all over the batch and channels are adjacent, else -1.
int64_t pixel_step(const Tensor &x) {
  const int64_t width = x.size(3), plane = x.size(2) * width;
  const int64_t step = width > 1 ? x.stride(3) : plane > 1 ? x.stride(2) : x.size(0) > 1 ? x.stride(0) : x.size(1);
  const auto fits = [&](int64_t dim, int64_t stride) { return x.size(dim) <= 1 || x.stride(dim) == stride; };
  return fits(1, 1) && fits(2, width * step) && fits(0, plane * step) ? step : -1;
}

// `x` itself where it can be seen as pixels, else a copy.
Tensor as_pixels(const Tensor &x) { return pixel_step(x) >= 0 ? x : channels_last_copy(x); }

template <typename T> Pixels<const T> pixels_of(const Tensor &x, int64_t first_channel = 0) {
  return {const_data<T>(x) + first_channel, pixel_step(x)};
}

template <typename T> Pixels<T> mutable_pixels_of(const Tensor &x, int64_t first_channel = 0) {
  return {mutable_data<T>(x) + first_channel, pixel_step(x)};
}

int64_t num_pixels(const Tensor &x) { return x.size(0) * x.size(2) * x.size(3); }

Tensor new_activations(const Tensor &like, int64_t channels, at::ScalarType type) {
  return at::empty({like.size(0), channels, like.size(2), like.size(3)}, like.options().dtype(type),
                   at::MemoryFormat::ChannelsLast);
}

Tensor new_activations(const Tensor &like, int64_t channels) {
  return new_activations(like, channels, like.scalar_type());
}

// ---- Passes over the pixels ----

int64_t num_chunks(int64_t pixels) { return (pixels + kChunkPixels - 1) / kChunkPixels; }

// Calls `visit(group, chunk, range)` in steps for `groups` groups of as many `pixels`, the chunks of all groups in parallel.
// The partition depends on the sizes alone, so that sums do not depend on the number of threads.
template <typename Visit> void for_each_step(int64_t groups, int64_t pixels, const Visit &visit) {
  const int64_t chunks = num_chunks(pixels); // of a group
  at::parallel_for(0, groups * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t group = chunk / chunks, first = group * pixels + chunk % chunks * kChunkPixels;
      const int64_t chunk_end = std::min(first + kChunkPixels, (group + 1) * pixels);
      for (int64_t pixel = first; pixel < chunk_end; pixel += kStepPixels) {
        visit(group, chunk, Range{pixel, std::min(pixel + kStepPixels, chunk_end)});
      }
    }
  });
}

// The same of a single group: `visit(chunk, range)`.
template <typename Visit> void for_each_step(int64_t pixels, const Visit &visit) {
  for_each_step(1, pixels, [&](int64_t, int64_t chunk, Range range) { visit(chunk, range); });
}

// A combination with what it points to.
template <typename S, typename To = S> struct OwnedCombination {
  Pixels<To> to;
  bool accumulates;
  std::vector<Compute<S>> shift;
  std::vector<Term<S>> terms = {};
  std::vector<Term<Compute<S>>> wide_terms = {};

  void run(int64_t channels, Range range) const {
    const Combination<S, To> combination{to, accumulates, shift.data(), list(wide_terms), list(terms)};
    if constexpr (std::is_same_v<S, To>) {
      kernels<S>().combine(combination, channels, range);
    } else {
      kernels<S>().combine_wide(combination, channels, range);
    }
  }

private:
  template <typename T> static Terms<T> list(const std::vector<Term<T>> &terms) {
    return {terms.data(), int64_t(terms.size())};
  }
};

template <typename S, typename To>
void combine(const std::vector<OwnedCombination<S, To>> &combinations, int64_t channels, int64_t pixels) {
  for_each_step(pixels, [&](int64_t, Range range) {
    for (const auto &combination : combinations) {
      combination.run(channels, range);
    }
  });
}

} // namespace
} // namespace pdarts::channelwise
