#include "tables.h"

const pdarts::cuda::Tables *pdarts_cuda_tables() {
  using namespace pdarts;
  static const cuda::Tables tables{
      {branch_sum::cuda_float_kernels, channelwise::cuda_float_kernels, dropout::cuda_float_kernels,
       separable::cuda_float_kernels, windows::cuda_float_kernels, mix::cuda_float_kernels, pool::cuda_float_kernels},
      {branch_sum::cuda_double_kernels, channelwise::cuda_double_kernels, dropout::cuda_double_kernels,
       separable::cuda_double_kernels, windows::cuda_double_kernels, mix::cuda_double_kernels, pool::cuda_double_kernels},
      {branch_sum::cuda_bfloat16_kernels, channelwise::cuda_bfloat16_kernels, dropout::cuda_bfloat16_kernels,
       separable::cuda_bfloat16_kernels, windows::cuda_bfloat16_kernels, mix::cuda_bfloat16_kernels,
       pool::cuda_bfloat16_kernels}};
  return &tables;
}
