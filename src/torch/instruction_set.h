// Which of the tables of kernels fits the machine.
#pragma once
#include <ATen/Version.h>

namespace pdarts {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// What libtorch chose for its own kernels, so that ATEN_CPU_CAPABILITY rules both.
inline InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    const auto capability = at::get_cpu_capability();
    if (capability == "AVX512") {
      return InstructionSet::kAvx512;
    }
    return capability == "AVX2" ? InstructionSet::kAvx2 : InstructionSet::kBaseline;
  }();
  return chosen;
}

} // namespace pdarts

// Defines `kernels<T>()`, the table of `Kernels<T>` to use, from those of the surrounding namespace. Other
// architectures have the baseline's alone.
#if defined(__x86_64__)
#define PDARTS_TABLE(table)                                                                                            \
  (instruction_set() == InstructionSet::kAvx512 ? avx512::table                                                        \
   : instruction_set() == InstructionSet::kAvx2 ? avx2::table                                                          \
                                                : baseline::table)
#else
#define PDARTS_TABLE(table) baseline::table
#endif
#define PDARTS_DEFINE_KERNELS                                                                                          \
  template <typename T> const Kernels<T> &kernels() {                                                                  \
    if constexpr (std::is_same_v<T, float>) {                                                                          \
      return PDARTS_TABLE(float_kernels);                                                                              \
    } else if constexpr (std::is_same_v<T, double>) {                                                                  \
      return PDARTS_TABLE(double_kernels);                                                                             \
    } else {                                                                                                           \
      return PDARTS_TABLE(bfloat16_kernels);                                                                           \
    }                                                                                                                  \
  }
