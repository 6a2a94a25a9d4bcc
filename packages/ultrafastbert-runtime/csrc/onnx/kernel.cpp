#include "kernel.h"

#include <utility>

#include "inputs.h"
#include "tensor.h"

namespace onnx_operator {
namespace {

bool uses_output(const ort::Api& api, const ort::KernelInfo* info, size_t index) {
  size_t n = 0;
  std::string name;
  api.call(ort::get_n_outputs, info, &n);
  return index < n && api.get_text(ort::get_output_name, name, info, index) && !name.empty();
}

}  // namespace

Kernel::Kernel(const ort::Api& api, const ort::KernelInfo* info, std::string title)
    : api_(api),
      title_(std::move(title)),
      layer_(read_layer(api, info)),
      gives_leaf_(uses_output(api, info, leaf)) {}

void Kernel::compute(ort::KernelContext* context) {
  const ort::Value* value = nullptr;
  api_.call(ort::get_input, context, x, &value);
  const ort::Tensor in = ort::view(api_, value);
  fff::Shape shape = layer_.shape;
  if (in.sizes.empty() || in.sizes.back() != shape.hidden_size)
    throw std::invalid_argument("x has shape " + ort::text_of(in.sizes) +
                                "; its last size must be " + std::to_string(shape.hidden_size));
  ort::Sizes sizes = in.sizes;
  sizes.back() = shape.output_size;
  void* to_y = output(context, y, sizes);
  sizes.back() = shape.n_trees;
  void* to_leaf = gives_leaf_ ? output(context, leaf, sizes) : nullptr;
  shape.n_tokens = ort::n_elements(in.sizes) / shape.hidden_size;
  if (shape.n_tokens == 0) return;
  fff::validate(shape);
  SessionExecutor executor(api_, context);
  shape.executor = executor.get();
  shape.n_threads = threads_.to_use(shape.n_tokens);
  fff::forward(shape, fff::Type::float32, layer_.weights, in.data, to_y,
               static_cast<int64_t*>(to_leaf), nullptr);
  threads_.used(shape.n_tokens, shape.n_threads, executor.n_threads());
}

void* Kernel::output(ort::KernelContext* context, size_t index, const ort::Sizes& sizes) const {
  ort::Value* value = nullptr;
  void* data = nullptr;
  api_.call(ort::get_output, context, index, sizes.data(), sizes.size(), &value);
  api_.call(ort::get_data, value, &data);
  return data;
}

}  // namespace onnx_operator
