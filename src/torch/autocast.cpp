// Autocast to bfloat16, which tch offers for CUDA and float16 only.
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

#include "guarded.h"
#include "shim.h"

extern "C" char *pdarts_set_autocast(bool cuda, bool enabled, bool *was_enabled) {
  return guarded([&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    *was_enabled = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, enabled);
    if (!enabled) {
      // Holds the rounded weights: they are stale after the next step of the optimizer.
      at::autocast::clear_cache();
    }
  });
}

extern "C" char *pdarts_allow_tf32(bool allowed) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuDNN(allowed);
    at::globalContext().setAllowTF32CuBLAS(allowed);
  });
}

extern "C" char *pdarts_in_autocast(bool cuda, bool *enabled) {
  return guarded([&] { *enabled = at::autocast::is_autocast_enabled(cuda ? at::kCUDA : at::kCPU); });
}
