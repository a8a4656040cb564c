// The CPU kernels of BatchNorm and of weighted sums, as one table of functions per instruction set: what multiplies, adds
// up or combines activations channel by channel.
//
// Each table comes from the same templates (table.h), compiled once per instruction set. As in
// ../depthwise/kernels.h, nothing here may include libtorch or the standard library's templates.
//
// T is the type that activations are stored in; constants and sums are in the type that they are computed with.
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
template <typename T> struct Term {
  Pixels<const T> values;
  const Compute<T> *scale;
};

// to = shift [C] + the terms, plus `to` itself when it accumulates.
template <typename T> struct Combination {
  Pixels<T> to;
  bool accumulates;
  const Compute<T> *shift;
  const Term<T> *terms;
  int64_t num_terms;
};

// `values` - `mean` [C].
template <typename T> struct Centred {
  Pixels<const T> values;
  const Compute<T> *mean;
};

template <typename T> struct Kernels {
  void (*combine)(const Combination<T> &combination, int64_t channels, Range range);
  // Adds, for each channel, the sums of `values` and of their squares to `sums` [2, C].
  void (*moments)(const Centred<T> &values, int64_t channels, Range range, Compute<T> *sums);
  // Adds, for each channel, the sums of `gradient` and of its products with each factor to `sums` [1 + factors, C].
  void (*products)(Pixels<const T> gradient, const Centred<T> *factors, int64_t num_factors, int64_t channels,
                   Range range, Compute<T> *sums);
};

PDARTS_DECLARE_TABLES(PDARTS_STORAGE_TABLES)

} // namespace pdarts::channelwise
