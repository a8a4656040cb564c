// The kernels of cuda.h. The second pass over the pixels begins where the first ended, with what is still in the cache.
#include "cuda_backward.h"
#include "cuda_forward.h"

namespace pdarts::mix {
namespace {

template <typename S> constexpr CudaKernels<S> kKernels = {workspace_bytes<S>, forward<S>, backward<S>};

} // namespace

const CudaKernels<float> cuda_float_kernels = kKernels<float>;
const CudaKernels<double> cuda_double_kernels = kKernels<double>;
const CudaKernels<BFloat16> cuda_bfloat16_kernels = kKernels<BFloat16>;

} // namespace pdarts::mix
