// Images as a network gets them, out of bytes on the GPU, by one kernel. What it is made of elsewhere is in windows.rs.
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

#include "../activations.h"
#include "../cuda/backend.h"
#include "../guarded.h"
#include "../shim.h"

namespace pdarts::windows {
namespace {

using torch::Tensor;

// Values in a row of `windows`.
constexpr int64_t kFields = sizeof(Window) / sizeof(int32_t);
// Of an image: the kernel counts them in 32 bits.
constexpr int64_t kMostValues = int64_t(1) << 30;

void write_windows(const Tensor &images, const Tensor &windows, const Colours &colours, const Tensor &y) {
  RECORD_USER_SCOPE("pdarts::windows");
  TORCH_CHECK(images.dim() == 4 && y.dim() == 4 && images.sizes().slice(1) == y.sizes().slice(1) &&
                  y.size(3) == kChannels && y.numel() <= y.size(0) * kMostValues,
              "windows ", y.sizes(), " on images ", images.sizes(), ": expected [N, H, W, 3] and [M, H, W, 3]");
  TORCH_CHECK(windows.scalar_type() == at::kInt && windows.dim() == 2 && windows.size(0) == y.size(0) &&
                  windows.size(1) == kFields && y.size(0) <= INT32_MAX,
              "windows ", y.sizes(), " told by ", windows.sizes(), ": expected [N, ", kFields, "]");
  TORCH_CHECK(images.is_contiguous() && windows.is_contiguous() && y.is_contiguous() &&
                  images.device() == y.device() && windows.device() == y.device(),
              "windows and images in other memory than expected");
  const c10::DeviceGuard on_device(y.device());
  const Size size{int(y.size(0)), int(y.size(1)), int(y.size(2))};
  with_storage_type(y.scalar_type(), [&]<typename S>() {
    const auto *rows = reinterpret_cast<const Window *>(windows.const_data_ptr<int32_t>());
    const int result = cuda::table<S>().windows.forward(images.const_data_ptr<uint8_t>(), rows, mutable_data<S>(y),
                                                        size, colours, cuda::current_stream(y));
    cuda::check(result, "windows");
  });
}

} // namespace
} // namespace pdarts::windows

char *pdarts_write_windows(const torch::Tensor *images, const torch::Tensor *windows, const float *colours,
                           const torch::Tensor *y) {
  return guarded([&] {
    pdarts::windows::Colours by_channel;
    static_assert(sizeof(by_channel) == 6 * sizeof(float));
    memcpy(&by_channel, colours, sizeof(by_channel));
    pdarts::windows::write_windows(*images, *windows, by_channel, *y);
  });
}
