// The C interface of what libtorch offers in C++ only. Tensors are `torch::Tensor*` as tch hands them out.
#pragma once
#include <torch/torch.h>

extern "C" {
// Every function returns nullptr on success, else a message that `pdarts_free_message` releases.
char *pdarts_set_grad(torch::Tensor *parameter, torch::Tensor *gradient);
void pdarts_free_message(char *message);
const char *pdarts_libtorch_version();
}
