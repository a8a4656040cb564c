// Work on a GPU that is recorded once and replayed: a CUDA graph with the memory that its kernels use.
#pragma once
#include "draw.h"

namespace pdarts::graph {

// The next draw of this thread, with `probability`: its seed comes from libtorch's CPU generator, when it is made or, while work
// is recorded, when that is replayed. So a replay draws what the same work would have drawn without.
Draw next_draw(double probability);

} // namespace pdarts::graph
