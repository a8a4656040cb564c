// A GPU's stream beside the current one, and events between the two, through libtorch's interface for any accelerator:
// without CUDA's headers, and with the events that libtorch's own operations see.
#include <ATen/DeviceAccelerator.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "guarded.h"
#include "shim.h"

namespace {

c10::Stream current(const c10::Stream &side) { return at::accelerator::getCurrentStream(side.device_index()); }

const c10::Stream &stream_of(const void *side) { return *static_cast<const c10::Stream *>(side); }

const c10::Event &event_of(const void *event) { return *static_cast<const c10::Event *>(event); }

} // namespace

char *pdarts_new_side_stream(int64_t device, void **side, void **handle) {
  return guarded([&] {
    // NCCL takes this thread's device.
    at::accelerator::setDeviceIndex(device);
    const auto type = at::accelerator::getAccelerator(/*checked=*/true).value();
    const c10::impl::VirtualGuardImpl accelerator(type);
    // Communication must not queue behind the computation that it lets go on.
    const auto stream = accelerator.getStreamFromGlobalPool(c10::Device(type, device), /*isHighPriority=*/true);
    *handle = stream.native_handle();
    *side = new c10::Stream(stream);
  });
}

char *pdarts_side_stream_follow(const void *side) {
  return guarded([&] {
    const c10::Stream &stream = stream_of(side);
    c10::Event reached(stream.device_type());
    reached.record(current(stream));
    reached.block(stream);
  });
}

char *pdarts_side_stream_record(const void *side, void **event) {
  return guarded([&] {
    const c10::Stream &stream = stream_of(side);
    auto reached = std::make_unique<c10::Event>(stream.device_type());
    reached->record(stream);
    *event = reached.release();
  });
}

char *pdarts_wait_for_event(const void *side, const void *event) {
  return guarded([&] { event_of(event).block(current(stream_of(side))); });
}

char *pdarts_event_is_complete(const void *event, bool *is_complete) {
  return guarded([&] { *is_complete = event_of(event).query(); });
}

void pdarts_release_side_stream(void *side) { delete static_cast<c10::Stream *>(side); }

void pdarts_release_event(void *event) { delete static_cast<c10::Event *>(event); }
