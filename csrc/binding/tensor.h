// What PyTorch tells of a tensor in one call from C: the exchange table of DLPack 1, which types of
// tensors carry as __dlpack_c_exchange_api__. Asking for the same attributes from Python takes ten
// calls. The structures are those of the standard: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/fff.h"

namespace fff {

// DLTensor. It points into the tensor that it tells of. Strides may be null: contiguous.
struct TensorView {
  static constexpr int32_t cpu = 1;
  static constexpr uint8_t ieee = 2, bfloat = 4;

  char* data;
  int32_t device_type, device_number;
  int32_t n_sizes;
  uint8_t kind, bits;
  uint16_t lanes;
  int64_t *sizes, *strides;
  uint64_t byte_offset;

  const void* address() const { return data + byte_offset; }

  int64_t n_elements() const {
    int64_t n = 1;
    for (int32_t i = 0; i < n_sizes; ++i) n *= sizes[i];
    return n;
  }

  bool is_contiguous() const {
    if (!strides) return true;
    int64_t stride = 1;
    for (int32_t i = n_sizes - 1; i >= 0; --i) {
      if (sizes[i] != 1 && strides[i] != stride) return n_elements() == 0;
      stride *= sizes[i];
    }
    return true;
  }

  bool is(Type type) const {
    switch (type) {
      case Type::float64: return kind == ieee && bits == 64;
      case Type::float32: return kind == ieee && bits == 32;
      case Type::bfloat16: return kind == bfloat && bits == 16;
      default: return false;
    }
  }
};

// Where a tensor was, and what of: to see later whether it still is.
class TensorPlace {
 public:
  explicit TensorPlace(const TensorView& view)
      : address_(view.address()),
        kind_(view.kind),
        bits_(view.bits),
        sizes_(view.sizes, view.sizes + view.n_sizes) {}

  // Of a contiguous tensor.
  bool is_of(const TensorView& view) const {
    return view.address() == address_ && view.kind == kind_ && view.bits == bits_ &&
           view.n_sizes == static_cast<int32_t>(sizes_.size()) &&
           std::equal(sizes_.begin(), sizes_.end(), view.sizes) && view.is_contiguous();
  }

 private:
  const void* address_;
  uint8_t kind_, bits_;
  std::vector<int64_t> sizes_;
};

// DLPackExchangeAPI, up to what is used here.
struct ExchangeTable {
  static constexpr const char* capsule_name = "dlpack_exchange_api";
  static constexpr uint32_t known_version = 1;  // what another one holds is unknown

  uint32_t major_version, minor_version;
  ExchangeTable* older;
  void *allocate, *from_object, *to_object;  // functions that nobody calls here
  int (*view)(void* object, TensorView* view);  // 0, or -1 with a Python error; may be null
};

}  // namespace fff
