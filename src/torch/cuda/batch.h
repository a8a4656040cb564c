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

  // The part that this block works on. `block`: its number among the batch's blocks, then among the part's.
  __device__ __forceinline__ const Part &own(int &block) const {
    int index = 0;
    for (; block >= blocks_of[index]; ++index) {
      block -= blocks_of[index];
    }
    return parts[index];
  }
};

// Queues a kernel on so many blocks, if there are any.
template <typename Kernel, typename... Arguments>
void launch_blocks(Kernel kernel, int num_blocks, int64_t shared_bytes, int threads, Stream stream,
                   const Arguments &...arguments) {
  static_assert((sizeof(arguments) + ...) <= 4000, "more than a kernel's arguments may take");
  // What every GPU gives without being asked, and what each of those that kernels are compiled for can give. A recorded launch must
  // not find less allowed than it takes, so that it is the same for all.
  constexpr int64_t kOrdinaryShared = 48 * 1024, kAllowedShared = 96 * 1024;
  if (num_blocks == 0) {
    return;
  }
  if (shared_bytes > kOrdinaryShared) {
    PDARTS_ALLOW_SHARED(kernel, shared_bytes > kAllowedShared ? shared_bytes : kAllowedShared);
  }
  PDARTS_LAUNCH(kernel, dim3(unsigned(num_blocks)), dim3(unsigned(threads)), shared_bytes, stream, arguments...);
}

// Queues kernel(batch).
template <typename Kernel, typename Part, int N>
void launch(Kernel kernel, const Batch<Part, N> &batch, int threads, Stream stream) {
  launch_blocks(kernel, batch.num_blocks, batch.shared_bytes, threads, stream, batch);
}

// Queues kernel(common, batches...): the batches take blocks one behind the other, and what they read alike stands in `common`.
template <typename Kernel, typename Common, typename... Batches>
void launch_together(Kernel kernel, int threads, Stream stream, const Common &common, const Batches &...batches) {
  int64_t shared_bytes = 0;
  ((shared_bytes = batches.shared_bytes > shared_bytes ? batches.shared_bytes : shared_bytes), ...);
  launch_blocks(kernel, (batches.num_blocks + ...), shared_bytes, threads, stream, common, batches...);
}

} // namespace pdarts::cuda
