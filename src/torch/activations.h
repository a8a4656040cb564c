// Tensors as the kernels' storage types see them.
#pragma once
#include <torch/types.h>

#include <cstring>
#include <type_traits>

#include "field.h"
#include "layout.h"
#include "storage.h"

namespace pdarts {
namespace {

template <typename S> constexpr bool kIsBFloat16 = std::is_same_v<S, BFloat16>;

template <typename S> const S *const_data(const torch::Tensor &tensor) {
  if constexpr (kIsBFloat16<S>) {
    return reinterpret_cast<const S *>(tensor.const_data_ptr<at::BFloat16>());
  } else {
    return tensor.const_data_ptr<S>();
  }
}

template <typename S> S *mutable_data(const torch::Tensor &tensor) {
  if constexpr (kIsBFloat16<S>) {
    return reinterpret_cast<S *>(tensor.mutable_data_ptr<at::BFloat16>());
  } else {
    return tensor.mutable_data_ptr<S>();
  }
}

// `tensor` itself when its channels are adjacent in memory, else a channels-last copy.
inline torch::Tensor with_adjacent_channels(const torch::Tensor &tensor) {
  return tensor.size(1) == 1 || tensor.stride(1) == 1 ? tensor : channels_last_copy(tensor);
}

// As GPU kernels read activations: pixels one after the other, whatever strides stand for that.
inline torch::Tensor dense(const torch::Tensor &tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

template <typename T> Field<T> field_of(const torch::Tensor &tensor) {
  T *data;
  if constexpr (std::is_const_v<T>) {
    data = const_data<std::remove_const_t<T>>(tensor);
  } else {
    data = mutable_data<T>(tensor);
  }
  return {data, tensor.stride(0), tensor.stride(2), tensor.stride(3)};
}

// `value` as the type it is computed with.
template <typename S> Compute<S> widened(S value) {
  if constexpr (kIsBFloat16<S>) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof(wide));
    return wide;
  } else {
    return value;
  }
}

// Whether there are kernels for activations of `type`.
inline bool is_storage_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kBFloat16;
}

// What activations `x` are computed with.
inline at::ScalarType compute_type_of(const torch::Tensor &x) {
  return x.scalar_type() == at::kBFloat16 ? at::kFloat : x.scalar_type();
}

inline bool is_compute_type_of(const torch::Tensor &x, const torch::Tensor &other) {
  return other.scalar_type() == compute_type_of(x);
}

// Calls `visit.operator()<S>()` for the storage type of a tensor of `type`.
template <typename Visit> auto with_storage_type(at::ScalarType type, const Visit &visit) {
  TORCH_CHECK(is_storage_type(type), "no kernels for activations of ", type);
  return type == at::kBFloat16 ? visit.template operator()<BFloat16>()
         : type == at::kFloat  ? visit.template operator()<float>()
                               : visit.template operator()<double>();
}

} // namespace
} // namespace pdarts
