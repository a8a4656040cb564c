#include "shim.h"

#include <cstdlib>
#include <cstring>

namespace {

// Exceptions must not cross into Rust: runs `body` and turns what it throws into a message.
template <typename Body> char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  }
}

} // namespace

char *pdarts_set_grad(torch::Tensor *parameter, torch::Tensor *gradient) {
  return guarded([&] { parameter->mutable_grad() = *gradient; });
}

void pdarts_free_message(char *message) { free(message); }

const char *pdarts_libtorch_version() { return TORCH_VERSION; }
