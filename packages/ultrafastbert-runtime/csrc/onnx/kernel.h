// A node of a session's graph: computes its layer on the session's threads.
#pragma once

#include <string>

#include "layer.h"
#include "threads.h"

namespace onnx_operator {

class Kernel {
 public:
  // title: what stands before messages.
  Kernel(const ort::Api& api, const ort::KernelInfo* info, std::string title);

  // x (..., H) -> y (..., O) and, if the graph uses it, leaf (..., K). Throws std::invalid_argument
  // for an x of another shape. Many threads may call it at once.
  void compute(ort::KernelContext* context);

  const ort::Api& api() const { return api_; }
  const std::string& title() const { return title_; }

 private:
  void* output(ort::KernelContext* context, size_t index, const std::vector<int64_t>& sizes) const;

  ort::Api api_;
  std::string title_;
  Layer layer_;
  bool gives_leaf_;
  Threads threads_;
};

}  // namespace onnx_operator
