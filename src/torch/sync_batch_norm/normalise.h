// BatchNorm by the statistics of all ranks' images, of libtorch's operations.
#pragma once
#include "../shim.h"

#include <vector>

namespace pdarts::sync_batch_norm {

// One BatchNorm of `x` [N, C, H, W] in training.
struct Layer {
  torch::Tensor x;
  // [C], both undefined for one without scale and shift.
  torch::Tensor weight, bias;
  // [C], moved by the statistics of all ranks.
  torch::Tensor running_mean, running_var;
};

// The outputs of all layers: one sum over ranks serves the forward passes of all, one the backward passes.
torch::autograd::variable_list normalise(const std::vector<Layer> &layers);

} // namespace pdarts::sync_batch_norm
