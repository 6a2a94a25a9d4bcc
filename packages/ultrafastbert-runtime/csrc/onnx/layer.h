// The layer that a node of a graph stands for.
#pragma once

#include <memory>
#include <vector>

#include "api.h"
#include "core/fff.h"

namespace onnx_operator {

// The session that it was read from keeps its weights.
struct Layer {
  fff::Shape shape;
  fff::Weights weights;
  std::vector<std::unique_ptr<char[]>> copies;  // of weights whose file does not align them
};

// Reads attributes and weights. Throws std::invalid_argument, which names the attribute or input,
// unless they are a layer.
Layer read_layer(const ort::Api& api, const ort::KernelInfo* info);

}  // namespace onnx_operator
