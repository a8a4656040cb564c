// How the pixels of a call are read, as the launches choose it.
#pragma once
#include "cuda_depthwise.h"

namespace pdarts::separable {

// Where that pays there are instances that compute adjacent pixels together: for the kernels of the search space.
inline bool computes_adjacent(const CudaShape &s) { return s.stride == 1 && s.width % kAdjacent == 0 && s.kernel < 7; }

// As the input's place and the channels of it and of a group allow. Not in double precision, which no network computes in.
template <typename S> Reading reading_of(const CudaShape &s, const S *x) {
  if (s.inputs() % kChannels != 0 || !cuda::fits_vectors<kChannels>(x, s.channels)) {
    return Reading::kSingle;
  }
  return sizeof(S) < sizeof(double) && computes_adjacent(s) ? Reading::kAdjacent : Reading::kVectors;
}

// Calls `body.operator()<R>()` for each way in which activations that are stored as S are read.
template <typename S, typename Body> void for_each_reading(const Body &body) {
  body.template operator()<Reading::kSingle>();
  body.template operator()<Reading::kVectors>();
  if constexpr (sizeof(S) < sizeof(double)) {
    body.template operator()<Reading::kAdjacent>();
  }
}

} // namespace pdarts::separable
