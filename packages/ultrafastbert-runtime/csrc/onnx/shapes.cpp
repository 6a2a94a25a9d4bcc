#include "shapes.h"

#include "inputs.h"
#include "tensor.h"

namespace onnx_operator {
namespace {

const ort::TensorInfo* input_info(const ort::Api& api, const ort::ShapeContext* context,
                                  Input input) {
  const ort::TensorInfo* info = nullptr;
  api.call(ort::get_input_info, context, input, &info);
  return info;  // of the context
}

}  // namespace

void infer_shapes(const ort::Api& api, ort::ShapeContext* context) {
  const ort::TensorInfo* from = input_info(api, context, x);
  ort::Sizes sizes = ort::sizes_of(api, from);
  const ort::Sizes rows = ort::sizes_of(api, input_info(api, context, out));
  // No rank: not known yet. Kernels refuse weights of another rank, and say so.
  if (sizes.empty() || rows.size() != 3) return;
  std::vector<const char*> symbols(sizes.size());
  api.call(ort::get_symbols, from, symbols.data(), symbols.size());
  sizes.back() = rows.back();
  symbols.back() = "";
  for (size_t i = 0; i < sizes.size(); ++i)
    if (sizes[i] < 0 && !*symbols[i]) return;  // ONNX Runtime has no way to say: any size
  const ort::OwnedInfo info = ort::owned_info(api, ort::create_info);
  api.call(ort::set_sizes, info.get(), sizes.data(), sizes.size());
  api.call(ort::set_symbols, info.get(), symbols.data(), symbols.size());
  api.call(ort::set_output_info, context, y, info.get());
}

}  // namespace onnx_operator
