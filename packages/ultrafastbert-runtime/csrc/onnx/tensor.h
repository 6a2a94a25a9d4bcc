// Tensors of ONNX Runtime: what they hold and where.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "api.h"

namespace ort {

using Sizes = std::vector<int64_t>;

struct Tensor {
  ElementType type;
  Sizes sizes;
  const void* data;
};

struct Release {
  const Api* api;
  void operator()(TensorInfo* info) const { api->release(info); }
};
using OwnedInfo = std::unique_ptr<TensorInfo, Release>;

// What an entry gives, with its arguments up to that.
template <class Entry, class... Arguments>
OwnedInfo owned_info(const Api& api, Entry entry, Arguments... arguments) {
  TensorInfo* info = nullptr;
  api.call(entry, arguments..., &info);
  return OwnedInfo(info, {&api});
}

inline Sizes sizes_of(const Api& api, const TensorInfo* info) {
  size_t rank = 0;
  api.call(get_rank, info, &rank);
  Sizes sizes(rank);
  api.call(get_sizes, info, sizes.data(), rank);
  return sizes;
}

inline Tensor view(const Api& api, const Value* value) {
  const OwnedInfo info = owned_info(api, get_info, value);
  Tensor tensor{undefined, sizes_of(api, info.get()), nullptr};
  api.call(get_type, info.get(), &tensor.type);
  void* data = nullptr;
  api.call(get_data, value, &data);
  tensor.data = data;
  return tensor;
}

inline int64_t n_elements(const Sizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// "(2, 3)"
inline std::string text_of(const Sizes& sizes) {
  std::string text;
  for (int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

}  // namespace ort
