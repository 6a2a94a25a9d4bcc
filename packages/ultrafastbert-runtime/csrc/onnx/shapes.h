// What a graph can know of the operator's outputs before it runs.
#pragma once

#include "api.h"

namespace onnx_operator {

// Gives y the leading sizes of x, which may be symbols. The shape of leaf is left open: ONNX
// Runtime does not tell whether a node has that output, and writing to one that is not there is no
// error.
void infer_shapes(const ort::Api& api, ort::ShapeContext* context);

}  // namespace onnx_operator
