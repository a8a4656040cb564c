// Several pieces of work in one launch.
#pragma once
#include "language.h"

namespace pdarts::cuda {

// Up to N parts, each of which takes some of the launch's blocks, and as much dynamic shared memory as the part that needs most.
// A kernel takes it as `const __grid_constant__`, so that its threads read the part in place.
template <typename Part, int N> struct Batch {
  int count = 0, num_blocks = 0;
  int64_t shared_bytes = 0;
  int blocks_of[N];
  Part parts[N];

  void add(const Part &part, int64_t blocks, int64_t bytes) {
    parts[count] = part;
    blocks_of[count++] = int(blocks);
    num_blocks += int(blocks);
    shared_bytes = bytes > shared_bytes ? bytes : shared_bytes;
  }

  // The part that this block works on, and which of the part's blocks it is.
  __device__ __forceinline__ const Part &own(int &block) const {
    int index = 0;
    for (block = int(blockIdx.x); block >= blocks_of[index]; ++index) {
      block -= blocks_of[index];
    }
    return parts[index];
  }
};

// Queues a kernel of a batch, if it has a part.
template <typename Kernel, typename Part, int N>
void launch(Kernel kernel, const Batch<Part, N> &batch, int threads, Stream stream) {
  static_assert(sizeof(batch) <= 4000, "more than a kernel's arguments may take");
  // What every GPU gives without being asked, and what each of those that kernels are compiled for can give. A recorded launch must
  // not find less allowed than it takes, so that it is the same for all.
  constexpr int64_t kOrdinaryShared = 48 * 1024, kAllowedShared = 96 * 1024;
  if (batch.num_blocks == 0) {
    return;
  }
  if (batch.shared_bytes > kOrdinaryShared) {
    PDARTS_ALLOW_SHARED(kernel, batch.shared_bytes > kAllowedShared ? batch.shared_bytes : kAllowedShared);
  }
  PDARTS_LAUNCH(kernel, dim3(unsigned(batch.num_blocks)), dim3(unsigned(threads)), batch.shared_bytes, stream, batch);
}

} // namespace pdarts::cuda
