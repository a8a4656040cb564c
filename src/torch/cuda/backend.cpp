#include "backend.h"

#include <ATen/DeviceAccelerator.h>
#include <dlfcn.h>

#include <atomic>

#ifdef PDARTS_HAS_CUDA_KERNELS
#include <cuda_runtime_api.h>
#endif

#include "../guarded.h"
#include "../shim.h"

namespace pdarts::cuda {
namespace {

// Set by tests: kernels that take the memory of CPU tensors.
std::atomic<const Tables *> emulated{nullptr};

#ifdef PDARTS_HAS_CUDA_KERNELS
const Tables *compiled() { return pdarts_cuda_tables(); }

// Whether the GPU runs the kernels: a driver may be too old for them, and there may be none for its architecture.
bool probe() {
  float *value = nullptr;
  if (cudaMalloc(reinterpret_cast<void **>(&value), sizeof(float)) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  const int result = compiled()->of_float.dropout.forward(value, {{value}, 1}, 1, {1, 0.5, nullptr, nullptr}, nullptr);
  const bool runs = result == 0 && cudaDeviceSynchronize() == cudaSuccess;
  cudaGetLastError();
  cudaFree(value);
  return runs;
}
#else
const Tables *compiled() { return nullptr; }
bool probe() { return false; }
#endif

bool gpu_runs_them() {
  static const bool runs = compiled() && probe();
  return runs;
}

} // namespace

bool serves(const torch::Tensor &like) {
  return like.is_cuda() ? gpu_runs_them() : like.is_cpu() && emulated.load() != nullptr;
}

const Tables &tables() {
  const Tables *chosen = emulated.load();
  return *(chosen ? chosen : compiled());
}

Stream current_stream(const torch::Tensor &like) {
  return like.is_cuda() ? at::accelerator::getCurrentStream(like.device().index()).native_handle() : nullptr;
}

void check(int result, const char *what) {
#ifdef PDARTS_HAS_CUDA_KERNELS
  TORCH_CHECK(result == 0, what, ": CUDA: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
#else
  TORCH_CHECK(result == 0, what, ": CUDA error ", result);
#endif
}

} // namespace pdarts::cuda

bool pdarts_has_gpu_kernels() { return pdarts::cuda::compiled() != nullptr; }

bool pdarts_gpu_runs_kernels() { return pdarts::cuda::gpu_runs_them(); }

char *pdarts_emulate_gpu_kernels(const char *library) {
  return guarded([&] {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    TORCH_CHECK(handle, dlerror());
    const auto find = reinterpret_cast<const pdarts::cuda::Tables *(*)()>(dlsym(handle, "pdarts_cuda_tables"));
    TORCH_CHECK(find, dlerror());
    pdarts::cuda::emulated = find();
  });
}
