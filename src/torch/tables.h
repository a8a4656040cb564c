// How a family of kernels declares and defines its tables: one of each type for each instruction set.
//
// A family's namespace has `Kernels<...>` (its kernels.h) and, where tables are defined, `kKernels<...>` (its table.h). It
// names its tables by a macro that calls TABLE(name, types...) for each, as those below do. As the kernels' own headers,
// this one may include neither libtorch nor the standard library's templates.
#pragma once
#include "storage.h"

#define PDARTS_STORAGE_TABLES(TABLE)                                                                                   \
  TABLE(float_kernels, float) TABLE(double_kernels, double) TABLE(bfloat16_kernels, BFloat16)

#define PDARTS_DECLARE_TABLE(name, ...) extern const Kernels<__VA_ARGS__> name;
#define PDARTS_DEFINE_TABLE(name, ...) extern const Kernels<__VA_ARGS__> name = kKernels<__VA_ARGS__>;

// Inside of the family's namespace.
#define PDARTS_DECLARE_TABLES(tables)                                                                                  \
  namespace baseline {                                                                                                 \
  tables(PDARTS_DECLARE_TABLE)                                                                                         \
  }                                                                                                                    \
  namespace avx2 {                                                                                                     \
  tables(PDARTS_DECLARE_TABLE)                                                                                         \
  }                                                                                                                    \
  namespace avx512 {                                                                                                   \
  tables(PDARTS_DECLARE_TABLE)                                                                                         \
  }

// Outside of it, in the file that is compiled for `instruction_set`.
#define PDARTS_DEFINE_TABLES(family, tables, instruction_set)                                                          \
  namespace pdarts::family::instruction_set {                                                                          \
  tables(PDARTS_DEFINE_TABLE)                                                                                          \
  }
