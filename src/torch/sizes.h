// Arithmetic on sizes, for files of every instruction set.
#pragma once
#include <cstdint>

namespace pdarts {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

} // namespace
} // namespace pdarts
