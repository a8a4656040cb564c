// How the pixels of a call are read, as the launches choose it.
#pragma once
#include "cuda_window.h"

namespace pdarts::separable {

// As the shape allows, where the input can be read in vectors. There are instances that compute pixels together where that pays: for the
// kernels of the search space, and not in double precision, which no network computes in.
template <typename S> Reading vector_reading_of(const CudaShape &s) {
  if (sizeof(S) == sizeof(double) || s.kernel >= 7 || s.out_width < kAdjacent) {
    return Reading::kVectors;
  }
  const bool has_patches = s.stride == 1 && s.width % kAdjacent == 0 && s.height % kPatchRows == 0;
  return has_patches ? Reading::kPatches : Reading::kUneven;
}

// As the input's place and the channels of it and of a group allow, too.
template <typename S> Reading reading_of(const CudaShape &s, const S *x) {
  if (s.inputs() % kChannels != 0 || !cuda::fits_vectors<kChannels>(x, s.channels)) {
    return Reading::kSingle;
  }
  return vector_reading_of<S>(s);
}

// The places of all images' rows, as threads count them.
inline int64_t num_places(int images, int height, int width, Reading reading) {
  const bool is_uneven = reading == Reading::kUneven;
  return int64_t(images) * height *
         (is_uneven ? places_of_row<Reading::kUneven>(width) : places_of_row<Reading::kSingle>(width));
}
inline int64_t out_places(const CudaShape &s, Reading reading) {
  return num_places(s.images, s.out_height, s.out_width, reading);
}

// Pixels that a thread which sums over them takes at once, or one after the other.
inline int pixels_of_thread(Reading reading) { return reading == Reading::kPatches ? kPatch : kAdjacent; }

// Calls `body.operator()<R>()` for each way in which activations that are stored as S are read.
template <typename S, typename Body> void for_each_reading(const Body &body) {
  body.template operator()<Reading::kSingle>();
  body.template operator()<Reading::kVectors>();
  if constexpr (sizeof(S) < sizeof(double)) {
    body.template operator()<Reading::kUneven>();
    body.template operator()<Reading::kPatches>();
  }
}

} // namespace pdarts::separable
