// Time of each kernel on a GPU, by libtorch's profiler, which asks CUPTI.
#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "guarded.h"
#include "shim.h"

namespace pdarts::gpu_profile {
namespace {

using torch::profiler::impl::ActivityType;

// Without operators of the CPU, whose hooks would take time between the kernels.
const std::set<ActivityType> kActivities{ActivityType::CUDA};

} // namespace
} // namespace pdarts::gpu_profile

char *pdarts_gpu_profile_start() {
  return guarded([] {
    // Kineto tells of its stages, and that there is no GPU, on standard error. It asks when it is first prepared.
    setenv("KINETO_LOG_LEVEL", "6", /*overwrite=*/0);
    const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
    torch::autograd::profiler::prepareProfiler(config, pdarts::gpu_profile::kActivities);
    torch::autograd::profiler::enableProfiler(config, pdarts::gpu_profile::kActivities);
  });
}

char *pdarts_gpu_profile_stop(void (*visit)(void *, const char *, double, int64_t), void *context) {
  return guarded([&] {
    const auto result = torch::autograd::profiler::disableProfiler();
    std::map<std::string, std::pair<uint64_t, int64_t>> totals; // nanoseconds and calls
    for (const auto &event : result->events()) {
      // Others are the launches, on the host.
      if (event.deviceType() == c10::kCUDA) {
        auto &[nanoseconds, calls] = totals[event.name()];
        nanoseconds += event.durationNs();
        ++calls;
      }
    }
    for (const auto &[name, total] : totals) {
      visit(context, name.c_str(), double(total.first) / 1e9, total.second);
    }
  });
}
