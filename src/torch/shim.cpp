#include "shim.h"

#include <cstdlib>

#include "guarded.h"

char *pdarts_set_grad(torch::Tensor *parameter, torch::Tensor *gradient) {
  return guarded([&] { parameter->mutable_grad() = *gradient; });
}

void pdarts_free_message(char *message) { free(message); }

const char *pdarts_libtorch_version() { return TORCH_VERSION; }
