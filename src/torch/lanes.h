// A register of adjacent channels, in the widest form of the instruction set that this file is compiled for.
//
// Arithmetic is the compiler's vector extension; only loads and stores of a part of a register need intrinsics. Types
// that are stored narrower than they are computed with are widened by loads and rounded by stores.
#pragma once
#include <cstdint>
#include <cstring>

#include "storage.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pdarts {
namespace {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64, kNumRegisters = 32;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32, kNumRegisters = 16;
#else
constexpr int kRegisterBytes = 16, kNumRegisters = 16;
#endif

template <typename T> struct Register {
  typedef T Lanes __attribute__((vector_size(kRegisterBytes)));
};

// Of values stored as S, and their number.
template <typename S> using Lanes = typename Register<Compute<S>>::Lanes;
template <typename S> constexpr int64_t kLanes = kRegisterBytes / sizeof(Compute<S>);

template <typename T> inline Lanes<T> load(const T *from) {
  Lanes<T> value;
  memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T> inline void store(T *to, Lanes<T> value) { memcpy(to, &value, sizeof(value)); }

// The first `count` lanes; the others are zero.
template <typename T> inline Lanes<T> load_part(const T *from, int64_t count);
template <typename T> inline void store_part(T *to, Lanes<T> value, int64_t count);

#if defined(__AVX512F__)
template <> inline Lanes<float> load_part(const float *from, int64_t count) {
  return (Lanes<float>)_mm512_maskz_loadu_ps((1u << count) - 1, from);
}
template <> inline Lanes<double> load_part(const double *from, int64_t count) {
  return (Lanes<double>)_mm512_maskz_loadu_pd((1u << count) - 1, from);
}
template <> inline void store_part(float *to, Lanes<float> value, int64_t count) {
  _mm512_mask_storeu_ps(to, (1u << count) - 1, (__m512)value);
}
template <> inline void store_part(double *to, Lanes<double> value, int64_t count) {
  _mm512_mask_storeu_pd(to, (1u << count) - 1, (__m512d)value);
}
#elif defined(__AVX2__)
inline __m256i first_of_8(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m256i first_of_4(int64_t count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
template <> inline Lanes<float> load_part(const float *from, int64_t count) {
  return (Lanes<float>)_mm256_maskload_ps(from, first_of_8(count));
}
template <> inline Lanes<double> load_part(const double *from, int64_t count) {
  return (Lanes<double>)_mm256_maskload_pd(from, first_of_4(count));
}
template <> inline void store_part(float *to, Lanes<float> value, int64_t count) {
  _mm256_maskstore_ps(to, first_of_8(count), (__m256)value);
}
template <> inline void store_part(double *to, Lanes<double> value, int64_t count) {
  _mm256_maskstore_pd(to, first_of_4(count), (__m256d)value);
}
#else
template <typename T> inline Lanes<T> load_part(const T *from, int64_t count) {
  Lanes<T> value = {};
  memcpy(&value, from, count * sizeof(T));
  return value;
}
template <typename T> inline void store_part(T *to, Lanes<T> value, int64_t count) {
  memcpy(to, &value, count * sizeof(T));
}
#endif

// ---- bfloat16 ----

typedef uint16_t Halves __attribute__((vector_size(kRegisterBytes / 2)));
typedef uint32_t Words __attribute__((vector_size(kRegisterBytes)));

inline Lanes<float> widen(Halves halves) { return (Lanes<float>)(__builtin_convertvector(halves, Words) << 16); }

// To the nearest, of two equally near to the even one; NaN becomes libtorch's.
inline Halves round_to_halves(Lanes<float> value) {
  const Words bits = (Words)value;
  const Words rounded = (bits + (bits >> 16 & 1) + 0x7fff) >> 16;
  return __builtin_convertvector(value == value ? rounded : Words{} + 0x7fc0, Halves);
}

inline Halves load_halves(const BFloat16 *from, int64_t count) {
#if defined(__AVX512F__)
  return (Halves)_mm256_maskz_loadu_epi16((1u << count) - 1, from);
#else
  Halves halves = {};
  memcpy(&halves, from, count * sizeof(BFloat16));
  return halves;
#endif
}

inline void store_halves(BFloat16 *to, Halves halves, int64_t count) {
#if defined(__AVX512F__)
  _mm256_mask_storeu_epi16(to, (1u << count) - 1, (__m256i)halves);
#else
  memcpy(to, &halves, count * sizeof(BFloat16));
#endif
}

template <> inline Lanes<BFloat16> load(const BFloat16 *from) {
  Halves halves;
  memcpy(&halves, from, sizeof(halves));
  return widen(halves);
}
template <> inline void store(BFloat16 *to, Lanes<BFloat16> value) {
  const Halves halves = round_to_halves(value);
  memcpy(to, &halves, sizeof(halves));
}
template <> inline Lanes<BFloat16> load_part(const BFloat16 *from, int64_t count) {
  return widen(load_halves(from, count));
}
template <> inline void store_part(BFloat16 *to, Lanes<BFloat16> value, int64_t count) {
  store_halves(to, round_to_halves(value), count);
}

// ---- Either ----

// Whole registers are the common case; `whole` is known when a kernel is compiled.
template <bool whole, typename T> inline Lanes<T> load_lanes(const T *from, int64_t count) {
  if constexpr (whole) {
    return load(from);
  } else {
    return load_part(from, count);
  }
}

template <bool whole, typename T> inline void store_lanes(T *to, Lanes<T> value, int64_t count) {
  if constexpr (whole) {
    store(to, value);
  } else {
    store_part(to, value, count);
  }
}

// NaN stays NaN, as in libtorch's ReLU.
template <typename T> inline Lanes<T> relu(Lanes<T> x) { return x < 0 ? Lanes<T>{} : x; }

} // namespace
} // namespace pdarts
