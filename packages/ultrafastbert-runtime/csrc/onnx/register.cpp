// The library's entry point: makes ultrafastbert::FastFeedForward known to sessions.
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>

#include "inputs.h"
#include "kernel.h"
#include "shapes.h"

namespace onnx_operator {
namespace {

using ort::AnyFunction;
using ort::Api;
using ort::CustomOp;
using ort::Status;

// The operator for one ONNX Runtime.
struct Operator : CustomOp {
  Api api;
  ort::OpDomain* domain = nullptr;

  Operator(const Api& of_runtime, bool tells_shapes);
};

Status* create_kernel(const CustomOp*, const AnyFunction* table, const ort::KernelInfo* info,
                      void** kernel) noexcept {
  const Api api(table);
  std::string title = "FastFeedForward: ";
  return ort::guarded(api, title, [&] {
    std::string name;
    if (api.get_text(ort::get_node_name, name, info) && !name.empty())
      title = "FastFeedForward '" + name + "': ";
    *kernel = new Kernel(api, info, title);
  });
}

Status* compute(void* kernel, ort::KernelContext* context) noexcept {
  Kernel& self = *static_cast<Kernel*>(kernel);
  return ort::guarded(self.api(), self.title(), [&] { self.compute(context); });
}

Status* infer(const CustomOp* op, ort::ShapeContext* context) noexcept {
  const Api& api = static_cast<const Operator*>(op)->api;
  return ort::guarded(api, "FastFeedForward: ", [&] { infer_shapes(api, context); });
}

// Before version 1.24 of ONNX Runtime, inferring shapes crashes where an optional input is omitted.
bool infers_shapes(const ort::ApiBase* runtime) {
  int major = 0, minor = 0;
  std::sscanf(runtime->get_version(), "%d.%d", &major, &minor);
  return major > 1 || minor >= 24;
}

Operator::Operator(const Api& of_runtime, bool tells_shapes) : CustomOp{}, api(of_runtime) {
  version = ort::api_version;
  name = [](const CustomOp*) { return "FastFeedForward"; };
  execution_provider = [](const CustomOp*) -> const char* { return nullptr; };
  n_inputs = [](const CustomOp*) { return onnx_operator::n_inputs; };
  n_outputs = [](const CustomOp*) { return onnx_operator::n_outputs; };
  input_type = [](const CustomOp*, size_t i) {
    return i == nodes || i == leaves || i == out ? ort::undefined : ort::float32;
  };
  output_type = [](const CustomOp*, size_t i) { return i == y ? ort::float32 : ort::int64; };
  input_characteristic = [](const CustomOp*, size_t i) {
    return is_optional(static_cast<Input>(i)) ? ort::optional : ort::required;
  };
  output_characteristic = [](const CustomOp*, size_t i) {
    return i == y ? ort::required : ort::optional;
  };
  input_memory = [](const CustomOp*, size_t) { return 0; };
  for (auto& answer : variadic) answer = [](const CustomOp*) { return 0; };
  ort::CustomOp::create_kernel = onnx_operator::create_kernel;
  destroy_kernel = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  ort::CustomOp::compute = onnx_operator::compute;
  if (tells_shapes) ort::CustomOp::infer_shapes = infer;
  first_opset = [](const CustomOp*) { return 1; };
  last_opset = [](const CustomOp*) { return 1; };
}

// Session options refer to operators and domains, and there is no telling how long: none is freed.
const Operator& operator_of(const ort::ApiBase* runtime, const AnyFunction* table) {
  static std::mutex mutex;
  static auto& operators = *new std::map<const AnyFunction*, std::unique_ptr<Operator>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Operator>& found = operators[table];
  if (!found) {
    auto created = std::make_unique<Operator>(Api(table), infers_shapes(runtime));
    created->api.call(ort::create_domain, "ultrafastbert", &created->domain);
    created->api.call(ort::add_op, created->domain, created.get());
    found = std::move(created);
  }
  return *found;
}

}  // namespace
}  // namespace onnx_operator

// What RegisterCustomOpsLibrary calls, unless it is told another name.
extern "C" __attribute__((visibility("default"))) ort::Status* RegisterCustomOps(
    ort::SessionOptions* options, const ort::ApiBase* base) noexcept {
  using namespace onnx_operator;
  const AnyFunction* table = base->get_api(ort::api_version);
  if (!table) {
    const std::string found = base->get_version();
    const std::string message =
        "the operator ultrafastbert::FastFeedForward needs onnxruntime>=1.18, not " + found +
        "; pip install --upgrade onnxruntime";
    // The first version has what makes a status.
    return Api(base->get_api(1)).status(ort::fail, message.c_str());
  }
  return ort::guarded(Api(table), "FastFeedForward: ", [&] {
    const Operator& op = operator_of(base, table);
    op.api.call(ort::add_domain, options, op.domain);
  });
}
