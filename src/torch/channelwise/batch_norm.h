// Batch normalisation's two constants, PyTorch's defaults.
#pragma once

namespace pdarts {

constexpr double kMomentum = 0.1, kEpsilon = 1e-5;

} // namespace pdarts
