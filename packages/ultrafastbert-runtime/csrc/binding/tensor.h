// Tensors as DLPack describes them to C. Asking PyTorch from Python for the same attributes takes
// ten calls.
#pragma once

#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/fff.h"

namespace binding {

namespace nb = nanobind;

// DLTensor. It points into the tensor that it describes. Strides may be null: contiguous.
using TensorView = nb::dlpack::dltensor;

inline const void* address(const TensorView& tensor) {
  return static_cast<const char*>(tensor.data) + tensor.byte_offset;
}

inline int64_t n_elements(const TensorView& tensor) {
  int64_t n = 1;
  for (int32_t i = 0; i < tensor.ndim; ++i) n *= tensor.shape[i];
  return n;
}

inline bool is_on_cpu(const TensorView& tensor) {
  return tensor.device.device_type == nb::device::cpu::value;
}

inline bool is_contiguous(const TensorView& tensor) {
  if (!tensor.strides) return true;
  int64_t stride = 1;
  for (int32_t i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != stride) return n_elements(tensor) == 0;
    stride *= tensor.shape[i];
  }
  return true;
}

inline bool has_type(const TensorView& tensor, fff::Type type) {
  const auto is = [&](nb::dlpack::dtype_code code, uint8_t bits) {
    return tensor.dtype.code == static_cast<uint8_t>(code) && tensor.dtype.bits == bits;
  };
  switch (type) {
    case fff::Type::float64: return is(nb::dlpack::dtype_code::Float, 64);
    case fff::Type::float32: return is(nb::dlpack::dtype_code::Float, 32);
    case fff::Type::bfloat16: return is(nb::dlpack::dtype_code::Bfloat, 16);
    default: return false;
  }
}

// Where a contiguous tensor was, its dtype and its shape: to see later whether they still are.
class TensorPlace {
 public:
  explicit TensorPlace(const TensorView& view)
      : address_(address(view)), dtype_(view.dtype), shape_(view.shape, view.shape + view.ndim) {}

  bool is_of(const TensorView& view) const {
    return address(view) == address_ && view.dtype == dtype_ &&
           view.ndim == static_cast<int32_t>(shape_.size()) &&
           std::equal(shape_.begin(), shape_.end(), view.shape) && is_contiguous(view);
  }

 private:
  const void* address_;
  nb::dlpack::dtype dtype_;
  std::vector<int64_t> shape_;
};

// DLPackExchangeAPI of DLPack 1, up to what is used here. Types of tensors carry it as
// __dlpack_c_exchange_api__; nanobind does not declare it, and DLPack's header is in no package
// that a build could require. https://dmlc.github.io/dlpack/latest/c_api.html
struct ExchangeTable {
  static constexpr const char* capsule_name = "dlpack_exchange_api";
  static constexpr uint32_t known_version = 1;  // what another one holds is unknown

  uint32_t major_version, minor_version;
  ExchangeTable* older;
  void *allocate, *from_object, *to_object;     // functions that nobody calls here
  int (*view)(void* object, TensorView* view);  // 0, or -1 with a Python error; may be null
};

// The table in a capsule, or null where there is none of a known version.
inline const ExchangeTable* exchange_table(nb::handle capsule) {
  if (!PyCapsule_IsValid(capsule.ptr(), ExchangeTable::capsule_name)) return nullptr;
  const auto* table = static_cast<const ExchangeTable*>(
      PyCapsule_GetPointer(capsule.ptr(), ExchangeTable::capsule_name));
  const bool is_known = table->major_version == ExchangeTable::known_version && table->view;
  return is_known ? table : nullptr;
}

}  // namespace binding
