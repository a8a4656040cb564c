// What an operation that draws at random on a GPU draws by, as its kernels see it too.
#pragma once
#include <cstdint>

namespace pdarts::graph {

// A replay finds both in the device's memory, where the host has put them: pointers that are not null win. Otherwise they are
// given by value.
struct Draw {
  uint64_t seed;
  double probability;
  const uint64_t *replayed_seed;
  const double *replayed_probability;
};

} // namespace pdarts::graph
