// What PyTorch tells of a tensor in one call from C: the exchange table of DLPack 1, which types of
// tensors carry as __dlpack_c_exchange_api__. Asking for the same attributes from Python takes ten
// calls. The structures are those of the standard: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

#include "fff.h"

namespace fff {

// DLTensor. It points into the tensor that it tells of.
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

// DLPackExchangeAPI, up to what is used here.
struct ExchangeTable {
  static constexpr uint32_t known_version = 1;  // what another one holds is unknown

  uint32_t major_version, minor_version;
  ExchangeTable* older;
  void *allocate, *from_object, *to_object;  // functions that nobody calls here
  int (*view)(void* object, TensorView* view);  // 0, or -1 with a Python error; may be null
};

}  // namespace fff
