// Exceptions must not cross into Rust.
#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Runs `body`; what it throws becomes a message that `pdarts_free_message` releases, success is nullptr.
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
