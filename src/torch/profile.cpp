// Time of each kind of operation, by libtorch's own hooks around every operator and every node of backward.
#include <ATen/record_function.h>

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "guarded.h"
#include "shim.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Total {
  double seconds = 0; // without the operations that it calls
  int64_t calls = 0;
};

std::mutex mutex;
std::map<std::string, Total> totals;
at::CallbackHandle handle = 0;

// An operation under way on this thread.
struct Frame : at::ObserverContext {
  Clock::time_point begin = Clock::now();
  double inner = 0; // seconds of the operations that it called
  Frame *outer = nullptr;
};
thread_local Frame *innermost = nullptr;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction &) {
  auto frame = std::make_unique<Frame>();
  frame->outer = innermost;
  innermost = frame.get();
  return frame;
}

void leave(const at::RecordFunction &function, at::ObserverContext *context) {
  auto *frame = static_cast<Frame *>(context);
  if (innermost != frame) {
    return; // begun before the profile was
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - frame->begin).count();
  innermost = frame->outer;
  if (innermost) {
    innermost->inner += seconds;
  }
  const std::lock_guard lock(mutex);
  Total &total = totals[function.name()];
  total.seconds += seconds - frame->inner;
  ++total.calls;
}

} // namespace

char *pdarts_profile_start() {
  return guarded([] {
    const std::lock_guard lock(mutex);
    totals.clear();
    if (!handle) {
      handle = at::addGlobalCallback(at::RecordFunctionCallback(enter, leave).scopes(
          {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE}));
    }
  });
}

char *pdarts_profile_stop(void (*visit)(void *, const char *, double, int64_t), void *context) {
  return guarded([&] {
    const std::lock_guard lock(mutex);
    if (handle) {
      at::removeCallback(handle);
      handle = 0;
    }
    for (const auto &[name, total] : totals) {
      visit(context, name.c_str(), total.seconds, total.calls);
    }
    totals.clear();
  });
}
