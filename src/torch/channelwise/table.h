// The kernels behind kernels.h, for the instruction set that this file is compiled for.
//
// All of them are bound by memory: they walk over a few pixels at a time, register by register of channels, and read
// every operand once.
#pragma once
#include "../lanes.h"
#include "kernels.h"

namespace pdarts::channelwise {
namespace {

// Calls `visit.operator()<whole>(channel, count)` for every register of channels; the last may be partly filled.
template <typename T, typename Visit> inline void for_each_register(int64_t channels, const Visit &visit) {
  int64_t channel = 0;
  for (; channel + kLanes<T> <= channels; channel += kLanes<T>) {
    visit.template operator()<true>(channel, kLanes<T>);
  }
  if (channel < channels) {
    visit.template operator()<false>(channel, channels - channel);
  }
}

template <typename T> inline T *at(const Pixels<T> &pixels, int64_t pixel, int64_t channel) {
  return pixels.data + pixel * pixels.step + channel;
}

// Adds the terms to a register of channels of `pixels` adjacent pixels.
template <typename S, bool whole, int pixels, typename Sums>
inline void add_terms(const Terms<S> &terms, int64_t pixel, int64_t channel, int64_t count, Sums &sums) {
  for (const Term<S> *term = terms.begin; term != terms.begin + terms.count; ++term) {
    const Lanes<S> scale = load_lanes<whole>(term->scale + channel, count);
#pragma GCC unroll 4
    for (int i = 0; i < pixels; ++i) {
      sums[i] += scale * load_lanes<whole>(at(term->values, pixel + i, channel), count);
    }
  }
}

template <typename S, typename To, bool whole, int pixels>
inline void combine_register(const Combination<S, To> &c, int64_t pixel, int64_t channel, int64_t count) {
  const Lanes<S> shift = load_lanes<whole>(c.shift + channel, count);
  Lanes<S> sums[pixels];
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) {
    sums[i] = c.accumulates ? load_lanes<whole>(at(c.to, pixel + i, channel), count) + shift : shift;
  }
  add_terms<Compute<S>, whole, pixels>(c.wide_terms, pixel, channel, count, sums);
  add_terms<S, whole, pixels>(c.terms, pixel, channel, count, sums);
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) {
    store_lanes<whole>(at(c.to, pixel + i, channel), sums[i], count);
  }
}

template <typename S, typename To> void combine(const Combination<S, To> &combination, int64_t channels, Range range) {
  constexpr int together = 4;
  int64_t pixel = range.begin;
  for (; pixel + together <= range.end; pixel += together) {
    for_each_register<S>(channels, [&]<bool whole>(int64_t channel, int64_t count) {
      combine_register<S, To, whole, together>(combination, pixel, channel, count);
    });
  }
  for (; pixel < range.end; ++pixel) {
    for_each_register<S>(channels, [&]<bool whole>(int64_t channel, int64_t count) {
      combine_register<S, To, whole, 1>(combination, pixel, channel, count);
    });
  }
}

template <typename T> void moments(const Centred<T> &centred, int64_t channels, Range range, Compute<T> *sums) {
  for_each_register<T>(channels, [&]<bool whole>(int64_t channel, int64_t count) {
    const Lanes<T> mean = load_lanes<whole>(centred.mean + channel, count);
    Lanes<T> sum = load_lanes<whole>(sums + channel, count);
    Lanes<T> squares = load_lanes<whole>(sums + channels + channel, count);
    for (int64_t pixel = range.begin; pixel < range.end; ++pixel) {
      const Lanes<T> value = load_lanes<whole>(at(centred.values, pixel, channel), count) - mean;
      sum += value;
      squares += value * value;
    }
    store_lanes<whole>(sums + channel, sum, count);
    store_lanes<whole>(sums + channels + channel, squares, count);
  });
}

// The products with `together` factors; `sums` [factors, C]. G is the type that the gradient is stored in.
template <typename G, typename S, int together>
void products_with(Pixels<const G> gradient, const Centred<S> *factors, int64_t channels, Range range,
                   Compute<S> *sums) {
  for_each_register<S>(channels, [&]<bool whole>(int64_t channel, int64_t count) {
    Lanes<S> means[together], totals[together];
#pragma GCC unroll 4
    for (int i = 0; i < together; ++i) {
      means[i] = load_lanes<whole>(factors[i].mean + channel, count);
      totals[i] = load_lanes<whole>(sums + i * channels + channel, count);
    }
    for (int64_t pixel = range.begin; pixel < range.end; ++pixel) {
      const Lanes<S> value = load_lanes<whole>(at(gradient, pixel, channel), count);
#pragma GCC unroll 4
      for (int i = 0; i < together; ++i) {
        totals[i] += value * (load_lanes<whole>(at(factors[i].values, pixel, channel), count) - means[i]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < together; ++i) {
      store_lanes<whole>(sums + i * channels + channel, totals[i], count);
    }
  });
}

template <typename G, typename S>
void products(Pixels<const G> gradient, const Centred<S> *factors, int64_t num_factors, int64_t channels, Range range,
              Compute<S> *sums) {
  for_each_register<S>(channels, [&]<bool whole>(int64_t channel, int64_t count) {
    Lanes<S> sum = load_lanes<whole>(sums + channel, count);
    for (int64_t pixel = range.begin; pixel < range.end; ++pixel) {
      sum += load_lanes<whole>(at(gradient, pixel, channel), count);
    }
    store_lanes<whole>(sums + channel, sum, count);
  });
  sums += channels;
  int64_t factor = 0;
  const auto run = [&](auto kernel, int64_t together) {
    kernel(gradient, factors + factor, channels, range, sums + factor * channels);
    factor += together;
  };
  while (factor + 4 <= num_factors) {
    run(products_with<G, S, 4>, 4);
  }
  if (factor + 2 <= num_factors) {
    run(products_with<G, S, 2>, 2);
  }
  if (factor < num_factors) {
    run(products_with<G, S, 1>, 1);
  }
}

template <typename S>
constexpr Kernels<S> kKernels = {combine<S, S>, combine<S, Compute<S>>, moments<S>, products<S, S>,
                                 products<Compute<S>, S>};

} // namespace
} // namespace pdarts::channelwise
