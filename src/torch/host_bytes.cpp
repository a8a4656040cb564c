// Host memory that a GPU can read by itself, which tch cannot ask for.
#include <ATen/ops/empty.h>

#include "guarded.h"
#include "shim.h"

char *pdarts_page_locked_bytes(int64_t num_bytes, torch::Tensor **bytes) {
  return guarded([&] {
    *bytes = new torch::Tensor(at::empty({num_bytes}, at::TensorOptions(at::kByte).pinned_memory(true)));
  });
}
