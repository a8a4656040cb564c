// The CPU kernels of BatchNorm and of weighted sums, as one table of functions per instruction set: what multiplies, adds
// up or combines activations channel by channel.
//
// Each table comes from the same templates (table.h), compiled once per instruction set. As in
// ../depthwise/kernels.h, nothing here may include libtorch or the standard library's templates.
//
// S is the type that activations are stored in; constants and sums are in the type that they are computed with. What
// is wide is stored in that one, too.
#pragma once
#include <cstdint>

#include "../tables.h"

namespace pdarts::channelwise {

// Activations [N, C, H, W] in channels-last memory as rows of channels: pixel `p` of the N * H * W pixels of the batch
// begins at `data + p * step`. A block of the channels of a wider tensor is one, too.
template <typename T> struct Pixels {
  T *data;
  int64_t step;
};

// The pixels [begin, end) of a batch.
struct Range {
  int64_t begin, end;
};

// `scale` [C] times `values`.
template <typename S> struct Term {
  Pixels<const S> values;
  const Compute<S> *scale;
};

template <typename S> struct Terms {
  const Term<S> *begin;
  int64_t count;
};

// to = shift [C] + the wide terms + the terms, plus `to` itself when it accumulates; `to` is stored as To.
template <typename S, typename To> struct Combination {
  Pixels<To> to;
  bool accumulates;
  const Compute<S> *shift;
  Terms<Compute<S>> wide_terms;
  Terms<S> terms;
};

// `values` - `mean` [C].
template <typename S> struct Centred {
  Pixels<const S> values;
  const Compute<S> *mean;
};

template <typename S> struct Kernels {
  using T = Compute<S>;
  void (*combine)(const Combination<S, S> &combination, int64_t channels, Range range);
  void (*combine_wide)(const Combination<S, T> &combination, int64_t channels, Range range);
  // Adds, for each channel, the sums of `values` and of their squares to `sums` [2, C].
  void (*moments)(const Centred<S> &values, int64_t channels, Range range, T *sums);
  // Adds, for each channel, the sums of `gradient` and of its products with each factor to `sums` [1 + factors, C].
  void (*products)(Pixels<const S> gradient, const Centred<S> *factors, int64_t num_factors, int64_t channels,
                   Range range, T *sums);
  // The same of a gradient that is wide.
  void (*wide_products)(Pixels<const T> gradient, const Centred<S> *factors, int64_t num_factors, int64_t channels,
                        Range range, T *sums);
};

PDARTS_DECLARE_TABLES(PDARTS_STORAGE_TABLES)

} // namespace pdarts::channelwise
