// The operator's inputs and outputs.
#pragma once

#include <cstddef>

namespace onnx_operator {

enum Input : size_t { x, nodes, leaves, out, bias, node_scale, leaf_scale, out_scale };
constexpr const char* input_names[] = {"x",    "nodes",      "leaves",     "out",
                                       "bias", "node_scale", "leaf_scale", "out_scale"};
constexpr size_t n_inputs = sizeof(input_names) / sizeof(*input_names);

enum Output : size_t { y, leaf };
constexpr size_t n_outputs = 2;

// nodes are omitted where there are none
constexpr bool is_optional(Input input) { return input == nodes || input >= node_scale; }

}  // namespace onnx_operator
