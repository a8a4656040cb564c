// 3x3 pooling with padding 1 as autograd functions.
//
// On the CPU in bfloat16, single and double precision they run the kernels of kernels.h: of a maximum backward keeps
// one byte a value, of an average nothing. On a GPU the kernels of cuda.h do the same. Anything else uses libtorch's
// operations.
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <vector>

#include "../activations.h"
#include "../autograd_function.h"
#include "../cuda/backend.h"
#include "../guarded.h"
#include "../instruction_set.h"
#include "../kernel_choice.h"
#include "../shim.h"
#include "kernels.h"

namespace pdarts::pool {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Input values of a tile, at most: with its output and the next tile it should stay in a core's own cache.
constexpr int64_t kTileElements = 32 * 1024;

PDARTS_DEFINE_KERNELS

Shape shape_of(at::IntArrayRef sizes, int64_t stride) {
  const auto reduced = [&](int64_t size) { return (size - 1) / stride + 1; };
  return {.images = sizes[0],
          .channels = sizes[1],
          .height = sizes[2],
          .width = sizes[3],
          .out_height = reduced(sizes[2]),
          .out_width = reduced(sizes[3]),
          .stride = stride};
}

// ---- Tensors as the kernels see them ----

Tensor new_input(const Shape &s, const at::TensorOptions &options) {
  return at::empty({s.images, s.channels, s.height, s.width}, options, at::MemoryFormat::ChannelsLast);
}

Tensor new_output(const Shape &s, const at::TensorOptions &options) {
  return at::empty({s.images, s.channels, s.out_height, s.out_width}, options, at::MemoryFormat::ChannelsLast);
}

template <typename S> Tensor new_taps(const Shape &s) {
  const int64_t lanes = kernels<S>().lanes, channels = (s.channels + lanes - 1) / lanes * lanes;
  return at::empty({s.images, channels, s.out_height, s.out_width}, at::kByte, at::MemoryFormat::ChannelsLast);
}

// ---- Passes over tiles ----

// Calls `visit(tile)` for bands of the `rows` rows of all images, in parallel.
template <typename Visit>
void for_each_tile(int64_t images, int64_t rows, int64_t row_elements, const Visit &visit) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t band_rows = divide_up(rows, divide_up(rows * row_elements, kTileElements));
  const int64_t bands = divide_up(rows, band_rows);
  at::parallel_for(0, images * bands, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t row = index % bands * band_rows;
      visit(Tile{index / bands, row, std::min(row + band_rows, rows)});
    }
  });
}

template <typename Visit> void for_each_output_tile(const Shape &s, const Visit &visit) {
  for_each_tile(s.images, s.out_height, s.stride * s.width * s.channels, visit);
}

template <typename Visit> void for_each_input_tile(const Shape &s, const Visit &visit) {
  for_each_tile(s.images, s.height, s.width * s.channels, visit);
}

// ---- On a GPU, tensors are dense in channels-last memory, those of taps too ----

// Calls `visit(table, stream)` with the kernels for tensors like this one, and checks what it gives.
template <typename S, typename Visit> void with_gpu_kernels(const char *name, const Tensor &like, const Visit &visit) {
  cuda::check(visit(cuda::table<S>().pool, cuda::current_stream(like)), name);
}

// Where the maxima stand goes to `taps` if that is not null.
Tensor max(const Shape &s, const Tensor &x, Tensor *taps) {
  if (backend_of(x) == Backend::Gpu) {
    const c10::DeviceGuard guard(x.device());
    const Tensor from = dense(x), y = new_output(s, x.options());
    if (taps) {
      *taps = new_output(s, x.options().dtype(at::kByte));
    }
    with_storage_type(x.scalar_type(), [&]<typename S>() {
      with_gpu_kernels<S>("max_pool_3x3", x, [&](const auto &kernels, cuda::Stream stream) {
        return kernels.max(s, const_data<S>(from), mutable_data<S>(y), taps ? mutable_data<uint8_t>(*taps) : nullptr,
                           stream);
      });
    });
    return y;
  }
  const Tensor adjacent = with_adjacent_channels(x);
  Tensor y = new_output(s, x.options());
  with_storage_type(x.scalar_type(), [&]<typename S>() {
    if (taps) {
      *taps = new_taps<S>(s);
    }
    const auto from = field_of<const S>(adjacent);
    const auto to = field_of<S>(y);
    const auto to_taps = taps ? field_of<uint8_t>(*taps) : Field<uint8_t>{};
    for_each_output_tile(s, [&](const Tile &tile) { kernels<S>().max(s, tile, from, to, to_taps); });
  });
  return y;
}

Tensor max_gradient(const Shape &s, bool on_gpu, const Tensor &taps, const Tensor &y_gradient) {
  if (on_gpu) {
    const c10::DeviceGuard guard(y_gradient.device());
    const Tensor from = dense(y_gradient), x_gradient = new_input(s, y_gradient.options());
    with_storage_type(y_gradient.scalar_type(), [&]<typename S>() {
      with_gpu_kernels<S>("max_pool_3x3", from, [&](const auto &kernels, cuda::Stream stream) {
        return kernels.max_gradient(s, const_data<uint8_t>(taps), const_data<S>(from), mutable_data<S>(x_gradient),
                                    stream);
      });
    });
    return x_gradient;
  }
  const Tensor adjacent = with_adjacent_channels(y_gradient);
  Tensor x_gradient = new_input(s, y_gradient.options());
  with_storage_type(y_gradient.scalar_type(), [&]<typename S>() {
    const auto from_taps = field_of<const uint8_t>(taps);
    const auto from = field_of<const S>(adjacent);
    const auto to = field_of<S>(x_gradient);
    for_each_input_tile(s, [&](const Tile &tile) { kernels<S>().max_gradient(s, tile, from_taps, from, to); });
  });
  return x_gradient;
}

Tensor average(const Shape &s, const Tensor &x) {
  if (backend_of(x) == Backend::Gpu) {
    const c10::DeviceGuard guard(x.device());
    const Tensor from = dense(x), y = new_output(s, x.options());
    with_storage_type(x.scalar_type(), [&]<typename S>() {
      with_gpu_kernels<S>("avg_pool_3x3", x, [&](const auto &kernels, cuda::Stream stream) {
        return kernels.average(s, const_data<S>(from), mutable_data<S>(y), stream);
      });
    });
    return y;
  }
  const Tensor adjacent = with_adjacent_channels(x);
  Tensor y = new_output(s, x.options());
  with_storage_type(x.scalar_type(), [&]<typename S>() {
    const auto from = field_of<const S>(adjacent);
    const auto to = field_of<S>(y);
    for_each_output_tile(s, [&](const Tile &tile) { kernels<S>().average(s, tile, from, to); });
  });
  return y;
}

Tensor average_gradient(const Shape &s, bool on_gpu, const Tensor &y_gradient) {
  if (on_gpu) {
    const c10::DeviceGuard guard(y_gradient.device());
    const Tensor from = dense(y_gradient), x_gradient = new_input(s, y_gradient.options());
    with_storage_type(y_gradient.scalar_type(), [&]<typename S>() {
      with_gpu_kernels<S>("avg_pool_3x3", from, [&](const auto &kernels, cuda::Stream stream) {
        return kernels.average_gradient(s, const_data<S>(from), mutable_data<S>(x_gradient), stream);
      });
    });
    return x_gradient;
  }
  const Tensor adjacent = with_adjacent_channels(y_gradient);
  Tensor x_gradient = new_input(s, y_gradient.options());
  with_storage_type(y_gradient.scalar_type(), [&]<typename S>() {
    const auto from = field_of<const S>(adjacent);
    const auto to = field_of<S>(x_gradient);
    for_each_input_tile(s, [&](const Tile &tile) { kernels<S>().average_gradient(s, tile, from, to); });
  });
  return x_gradient;
}

// ---- Autograd ----

// Keeps what backward needs to know of the input, its sizes and the stride, and what computes.
void save_shape(AutogradContext *context, const Tensor &x, int64_t stride) {
  context->saved_data["on_gpu"] = backend_of(x) == Backend::Gpu;
  context->saved_data["sizes"] = x.sizes().vec();
  context->saved_data["stride"] = stride;
}

// The same in backward.
Shape saved_shape(AutogradContext *context, const char *name) {
  refuse_double_backward(name);
  return shape_of(context->saved_data["sizes"].toIntVector(), context->saved_data["stride"].toInt());
}

class MaxPool : public torch::autograd::Function<MaxPool> {
public:
  static Tensor forward(AutogradContext *context, const Tensor &x, int64_t stride) {
    Tensor taps;
    Tensor y = max(shape_of(x.sizes(), stride), x, &taps);
    save_shape(context, x, stride);
    context->save_for_backward({taps});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    const Shape shape = saved_shape(context, "max_pool_3x3");
    const bool on_gpu = context->saved_data["on_gpu"].toBool();
    return {max_gradient(shape, on_gpu, context->get_saved_variables()[0], gradients[0]), Tensor()};
  }
};

class AveragePool : public torch::autograd::Function<AveragePool> {
public:
  static Tensor forward(AutogradContext *context, const Tensor &x, int64_t stride) {
    save_shape(context, x, stride);
    return average(shape_of(x.sizes(), stride), x);
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    const Shape shape = saved_shape(context, "avg_pool_3x3");
    return {average_gradient(shape, context->saved_data["on_gpu"].toBool(), gradients[0]), Tensor()};
  }
};

void check(const char *name, const Tensor &x, int64_t stride) {
  TORCH_CHECK(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0, name, ": input ", x.sizes(),
              ": expected [N, C, H, W]");
  TORCH_CHECK(stride == 1 || stride == 2, name, ": stride ", stride, ": expected 1 or 2");
}

Tensor max_pool(const Tensor &x, int64_t stride) {
  RECORD_USER_SCOPE("pdarts::max_pool_3x3");
  check("max_pool_3x3", x, stride);
  if (backend_of(x) == Backend::Composed) {
    return at::max_pool2d(x, {3, 3}, {stride, stride}, {1, 1});
  }
  const bool has_backward = at::GradMode::is_enabled() && x.requires_grad();
  return has_backward ? MaxPool::apply(x, stride) : max(shape_of(x.sizes(), stride), x, nullptr);
}

Tensor average_pool(const Tensor &x, int64_t stride) {
  RECORD_USER_SCOPE("pdarts::avg_pool_3x3");
  check("avg_pool_3x3", x, stride);
  if (backend_of(x) == Backend::Composed) {
    // Backward of channels-last CUDA tensors with padding is wrong in libtorch 2.11 (pytorch#188344); of others it is not.
    const Tensor planes = x.contiguous(at::MemoryFormat::Contiguous);
    const Tensor y =
        at::avg_pool2d(planes, {3, 3}, {stride, stride}, {1, 1}, /*ceil_mode=*/false, /*count_include_pad=*/false);
    return y.contiguous(at::MemoryFormat::ChannelsLast);
  }
  return AveragePool::apply(x, stride);
}

} // namespace
} // namespace pdarts::pool

char *pdarts_max_pool_3x3(const torch::Tensor *x, int64_t stride, torch::Tensor **output) {
  return guarded([&] { *output = new torch::Tensor(pdarts::pool::max_pool(*x, stride)); });
}

char *pdarts_avg_pool_3x3(const torch::Tensor *x, int64_t stride, torch::Tensor **output) {
  return guarded([&] { *output = new torch::Tensor(pdarts::pool::average_pool(*x, stride)); });
}
