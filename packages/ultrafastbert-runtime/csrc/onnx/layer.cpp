#include "layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <optional>

#include "inputs.h"
#include "tensor.h"

namespace onnx_operator {
namespace {

using ort::ElementType;
using ort::Sizes;
using ort::Tensor;

// fff::Activation, in its order.
constexpr const char* activation_names[] = {"gelu",  "gelu_pytorch_tanh", "relu", "silu", "tanh",
                                            "linear"};
// TensorProto.DataType, in its order.
constexpr const char* type_names[] = {"undefined",  "float32", "uint8",  "int8",   "uint16",
                                      "int16",      "int32",   "int64",  "string", "bool",
                                      "float16",    "float64", "uint32", "uint64", "complex64",
                                      "complex128", "bfloat16"};

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  throw std::invalid_argument((std::string() + ... + parts));
}

std::string name_of(ElementType type) {
  const auto i = static_cast<size_t>(type);
  return i < std::size(type_names) ? type_names[i] : "number " + std::to_string(i);
}

class Reader {
 public:
  Reader(const ort::Api& api, const ort::KernelInfo* info) : api_(api), info_(info) {
    api.call(ort::get_n_inputs, info, &n_given_);
  }

  Layer read() {
    fff::Shape& shape = layer_.shape;
    shape = {0, 1, 1, 1, integer("depth"), integer("leaf_size"), activation(), node_output(), 1};
    fff::validate(shape);  // before what the sizes of weights must be is computed
    const Tensor leaf_rows = stack(leaves), out_rows = stack(out);
    shape.n_trees = leaf_rows.sizes[0];
    shape.hidden_size = leaf_rows.sizes[2];
    shape.output_size = out_rows.sizes[2];
    fff::validate(shape);
    fff::Weights& weights = layer_.weights;
    const int64_t n_leaf_rows = shape.n_leaves() * shape.leaf_size;
    weights.leaves = rows(leaves, leaf_rows, n_leaf_rows, shape.hidden_size, leaf_scale);
    weights.out = rows(out, out_rows, shape.n_rows(), shape.output_size, out_scale);
    weights.nodes = node_rows();
    weights.bias = floats(bias, required(bias), {shape.n_trees, shape.n_rows()});
    fff::validate(fff::Type::float32, weights);
    return std::move(layer_);
  }

 private:
  int64_t integer(const char* name) const {
    int64_t value = 0;
    if (!api_.try_call(ort::get_int, info_, name, &value))
      refuse("the attribute ", name, " is missing or not an integer");
    return value;
  }

  bool node_output() const {
    const int64_t value = integer("node_output");
    if (value != 0 && value != 1) refuse("node_output=", std::to_string(value), " must be 0 or 1");
    return value == 1;
  }

  fff::Activation activation() const {
    std::string name, names;
    if (!api_.get_text(ort::get_string, name, info_, "activation"))
      refuse("the attribute activation is missing or not a string");
    for (size_t i = 0; i < std::size(activation_names); ++i) {
      if (name == activation_names[i]) return static_cast<fff::Activation>(i);
      names += (names.empty() ? "" : ", ") + std::string(activation_names[i]);
    }
    refuse("activation='", name, "' must be one of ", names);
  }

  // The value of an input, unless that is omitted.
  std::optional<Tensor> constant(Input input) const {
    std::string name;
    if (input >= n_given_) return {};
    api_.get_text(ort::get_input_name, name, info_, input);
    if (name.empty()) return {};
    int is_constant = 0;
    const ort::Value* value = nullptr;
    api_.call(ort::get_constant_input, info_, input, &is_constant, &value);
    if (!is_constant)
      refuse("the input ", input_names[input],
             " is not constant; make it an initializer that is no input of the graph");
    return ort::view(api_, value);
  }

  Tensor required(Input input) const {
    std::optional<Tensor> tensor = constant(input);
    if (!tensor) refuse("the input ", input_names[input], " is missing");
    return *tensor;
  }

  // The rows of all trees.
  Tensor stack(Input input) const {
    const Tensor tensor = required(input);
    if (tensor.sizes.size() != 3)
      refuse(input_names[input], " has shape ", ort::text_of(tensor.sizes),
             " and not three sizes: trees, rows, columns");
    return tensor;
  }

  fff::Rows node_rows() {
    const fff::Shape& shape = layer_.shape;
    if (shape.depth > 0)
      return rows(nodes, required(nodes), shape.n_nodes(), shape.hidden_size, node_scale);
    const std::optional<Tensor> none = constant(nodes);
    if (none) check_sizes(nodes, *none, {shape.n_trees, 0, shape.hidden_size});
    return layer_.weights.leaves;  // nobody reads them
  }

  fff::Rows rows(Input input, const Tensor& tensor, int64_t rows_per_tree, int64_t n_columns,
                 Input scale_input) {
    const int64_t n_trees = layer_.shape.n_trees;
    check_sizes(input, tensor, {n_trees, rows_per_tree, n_columns});
    const std::optional<Tensor> scale = constant(scale_input);
    const fff::Type type = row_type(input, tensor);
    if (type == fff::Type::int8 && !scale)
      refuse(input_names[input], " is int8 and needs the input ", input_names[scale_input]);
    return {aligned(tensor, size_of(type)), type, rows_per_tree,
            scale ? scales(scale_input, *scale, {n_trees, rows_per_tree}) : nullptr};
  }

  fff::Type row_type(Input input, const Tensor& tensor) const {
    switch (tensor.type) {
      case ort::float32: return fff::Type::float32;
      case ort::bfloat16: return fff::Type::bfloat16;
      case ort::int8: return fff::Type::int8;
      default:
        refuse(input_names[input], " is ", name_of(tensor.type),
               " and must be float32, bfloat16 or int8");
    }
  }

  const float* scales(Input input, const Tensor& tensor, const Sizes& sizes) {
    const float* data = floats(input, tensor, sizes);
    const int64_t n = ort::n_elements(sizes);
    const float* found = std::find_if(data, data + n, [](float s) { return !std::isfinite(s); });
    if (found != data + n)
      refuse(input_names[input], " holds ", std::to_string(*found), " at (",
             std::to_string((found - data) / sizes[1]), ", ",
             std::to_string((found - data) % sizes[1]), ") and must be finite");
    return data;
  }

  const float* floats(Input input, const Tensor& tensor, const Sizes& sizes) {
    check_sizes(input, tensor, sizes);
    if (tensor.type != ort::float32)
      refuse(input_names[input], " is ", name_of(tensor.type), " and must be float32");
    return static_cast<const float*>(aligned(tensor, sizeof(float)));
  }

  void check_sizes(Input input, const Tensor& tensor, const Sizes& sizes) const {
    const fff::Shape& shape = layer_.shape;
    if (tensor.sizes != sizes)
      refuse(input_names[input], " has shape ", ort::text_of(tensor.sizes),
             "; with depth=", std::to_string(shape.depth),
             ", leaf_size=", std::to_string(shape.leaf_size),
             " and the sizes of leaves and out it must be ", ort::text_of(sizes));
  }

  // The data, or a copy of it at a multiple of the elements' size, which compiled loops rely on.
  const void* aligned(const Tensor& tensor, int64_t element_bytes) {
    if (reinterpret_cast<uintptr_t>(tensor.data) % element_bytes == 0) return tensor.data;
    const int64_t bytes = ort::n_elements(tensor.sizes) * element_bytes;
    layer_.copies.emplace_back(new char[bytes]);
    std::memcpy(layer_.copies.back().get(), tensor.data, bytes);
    return layer_.copies.back().get();
  }

  static int64_t size_of(fff::Type type) {
    return type == fff::Type::int8 ? 1 : type == fff::Type::bfloat16 ? 2 : 4;
  }

  const ort::Api& api_;
  const ort::KernelInfo* info_;
  size_t n_given_ = 0;
  Layer layer_;
};

}  // namespace

Layer read_layer(const ort::Api& api, const ort::KernelInfo* info) {
  return Reader(api, info).read();
}

}  // namespace onnx_operator
