// Work on a GPU that is recorded once and replayed: a CUDA graph with the memory that its kernels use.
#pragma once
#include <torch/types.h>

namespace pdarts::graph {

// What an operation that draws at random on a GPU draws by. A replay finds both in the device's memory, where the host has put
// them; otherwise they are given by value.
struct Draw {
  uint64_t seed;
  double probability;
  const uint64_t *replayed_seed;
  const double *replayed_probability;
};

// The next draw of this thread, with `probability`: its seed comes from libtorch's CPU generator, when it is made or, while work
// is recorded, when that is replayed. So a replay draws what the same work would have drawn without.
Draw next_draw(double probability);

} // namespace pdarts::graph
