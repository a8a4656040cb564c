// The launches of cuda.h's kernels.
#include "cuda_backward.h"
#include "cuda_forward.h"

namespace pdarts::separable {
namespace {

constexpr int kInvalidValue = 1; // cudaErrorInvalidValue

bool is_served(const CudaShape &s) {
  constexpr int64_t kMostPixels = INT32_MAX;
  return (s.kernel == 3 || s.kernel == 5 || s.kernel == 7) && s.in_pixels() <= kMostPixels;
}

template <typename Call> bool are_served(const Call *calls, int num_calls) {
  bool served = num_calls <= kMostCalls;
  for (int index = 0; served && index < num_calls; ++index) {
    served = is_served(calls[index].shape);
  }
  return served;
}

template <typename S> int forward(const CudaForward<S> *calls, int num_calls, cuda::Stream stream) {
  using T = Compute<S>;
  if (!are_served(calls, num_calls)) {
    return kInvalidValue;
  }
  ForwardBatch<S> batches[kReadings];
  for (int index = 0; index < num_calls; ++index) {
    const CudaForward<S> &call = calls[index];
    const CudaShape &s = call.shape;
    const Reading reading =
        cuda::fits_vectors<kChannels>(call.y, s.outputs) ? reading_of(s, call.x) : Reading::kSingle;
    const auto tiling = ProductTiling::of<T>(s.outputs, s.inputs());
    const ProductBlocks blocks(tiling, out_places(s, reading), s.groups);
    const int64_t bytes = forward_shared_elements<T>(tiling, s.kernel * s.kernel) * sizeof(T);
    batches[int(reading)].add({call, blocks}, blocks.count, bytes);
  }
  for_each_reading<S>(
      [&]<Reading R>() { cuda::launch(convolve<S, R>, batches[int(R)], kCudaThreads, stream); });
  return cuda::launch_result();
}

template <typename S> int64_t backward_workspace_bytes(const CudaBackward<S> *calls, int num_calls) {
  return are_served(calls, num_calls) ? BackwardPass<S>(calls, num_calls, nullptr).workspace_bytes() : 0;
}

template <typename S>
int backward(const CudaBackward<S> *calls, int num_calls, void *workspace, cuda::Stream stream) {
  if (!are_served(calls, num_calls)) {
    return kInvalidValue;
  }
  BackwardPass<S>(calls, num_calls, workspace).launch(stream);
  return cuda::launch_result();
}

template <typename S>
constexpr CudaKernels<S> kKernels = {forward<S>, backward_workspace_bytes<S>, backward<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::separable
