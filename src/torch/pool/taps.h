// Taps as they stand in memory, a byte each, and as they are computed with, in integers as wide as the values.
#pragma once
#include "../lanes.h"

namespace pdarts::pool {
namespace {

template <typename T> using Integers = decltype(Lanes<T>{} == Lanes<T>{});

template <typename T> struct Narrow {
  typedef uint8_t Bytes __attribute__((vector_size(kRegisterBytes / sizeof(T))));
};

template <typename T> inline Integers<T> load_taps(const uint8_t *from) {
  typename Narrow<T>::Bytes bytes;
  memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(bytes, Integers<T>);
}

template <typename T> inline void store_taps(uint8_t *to, Integers<T> taps) {
  const auto bytes = __builtin_convertvector(taps, typename Narrow<T>::Bytes);
  memcpy(to, &bytes, sizeof(bytes));
}

// GCC converts lane by lane.
#if defined(__AVX512F__)
template <> inline Integers<float> load_taps<float>(const uint8_t *from) {
  return (Integers<float>)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
}
template <> inline void store_taps<float>(uint8_t *to, Integers<float> taps) {
  _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)taps));
}
#elif defined(__AVX2__)
template <> inline Integers<float> load_taps<float>(const uint8_t *from) {
  return (Integers<float>)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}
template <> inline void store_taps<float>(uint8_t *to, Integers<float> taps) {
  const __m128i low = _mm256_castsi256_si128((__m256i)taps), high = _mm256_extracti128_si256((__m256i)taps, 1);
  const __m128i words = _mm_packs_epi32(low, high);
  _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(words, words));
}
#endif

} // namespace
} // namespace pdarts::pool
