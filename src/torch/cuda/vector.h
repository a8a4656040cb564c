// Vectors of adjacent channels, which a thread reads and writes at once.
#pragma once
#include "language.h"

namespace pdarts::cuda {

template <typename S, int V> struct alignas(sizeof(S) * V) Vector {
  S values[V];
};

// Elements of a vector of 16 bytes.
template <typename S> constexpr int kVector = 16 / sizeof(S);

template <typename S, int V> __device__ __forceinline__ void load(const S *from, Compute<S> (&to)[V]) {
  const auto vector = *reinterpret_cast<const Vector<S, V> *>(from);
  for (int index = 0; index < V; ++index) {
    to[index] = widened<S>(vector.values[index]);
  }
}

template <typename S, int V> __device__ __forceinline__ void store(const Compute<S> (&from)[V], S *to) {
  Vector<S, V> vector;
  for (int index = 0; index < V; ++index) {
    vector.values[index] = narrowed<S>(from[index]);
  }
  *reinterpret_cast<Vector<S, V> *>(to) = vector;
}

// Whether rows of `channels` elements from `data` on can be read in vectors of V; null is never read.
template <int V, typename S> bool fits_vectors(const S *data, int channels) {
  return channels % V == 0 && reinterpret_cast<uintptr_t>(data) % sizeof(Vector<S, V>) == 0;
}

} // namespace pdarts::cuda
