// The part of ONNX Runtime's C interface that the operator uses. Its header is in no package that a
// build could require; its tables of functions only grow, so an entry is known by its index.
// https://onnxruntime.ai/docs/api/c/struct_ort_api.html
#pragma once

#include <cstddef>
#include <cstdint>

namespace ort {

// The version of the interface that is asked for, that of ONNX Runtime 1.18.
constexpr uint32_t api_version = 18;

// Objects of ONNX Runtime.
struct Status;
struct Value;
struct TensorInfo;
struct SessionOptions;
struct OpDomain;
struct KernelInfo;
struct KernelContext;
struct ShapeContext;

// A function of any type. OrtApi is an array of them.
using AnyFunction = void (*)();

struct ApiBase {
  const AnyFunction* (*get_api)(uint32_t version);  // null: older than that version
  const char* (*get_version)();
};

enum ErrorCode : int { fail = 1, invalid_argument = 2 };

// The types of elements that the operator takes or gives.
enum ElementType : int { undefined = 0, float32 = 1, int8 = 3, int64 = 7, bfloat16 = 16 };

enum Characteristic : int { required = 0, optional = 1 };

// OrtCustomOp: what ONNX Runtime asks of an operator and calls of it.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel_v1)(const CustomOp*, const AnyFunction*, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*execution_provider)(const CustomOp*);  // null: that of CPUs
  ElementType (*input_type)(const CustomOp*, size_t index);
  size_t (*n_inputs)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, size_t index);
  size_t (*n_outputs)(const CustomOp*);
  void (*compute_v1)(void* kernel, KernelContext*);
  void (*destroy_kernel)(void* kernel);
  Characteristic (*input_characteristic)(const CustomOp*, size_t index);
  Characteristic (*output_characteristic)(const CustomOp*, size_t index);
  int (*input_memory)(const CustomOp*, size_t index);
  int (*variadic[4])(const CustomOp*);
  Status* (*create_kernel)(const CustomOp*, const AnyFunction*, const KernelInfo*, void** kernel);
  Status* (*compute)(void* kernel, KernelContext*);
  Status* (*infer_shapes)(const CustomOp*, ShapeContext*);
  int (*first_opset)(const CustomOp*);
  int (*last_opset)(const CustomOp*);
  AnyFunction places[4];  // which outputs may reuse inputs: none
};
static_assert(sizeof(CustomOp) == 26 * sizeof(void*), "as version 18 of the interface has it");
static_assert(offsetof(CustomOp, create_kernel) == 17 * sizeof(void*), "as version 16 has it");

// A function of the table: its index and what it takes. All of these return a status.
template <size_t index, class... Arguments>
struct Entry {};

constexpr Entry<26, const char*, OpDomain**> create_domain;
constexpr Entry<27, OpDomain*, const CustomOp*> add_op;
constexpr Entry<28, SessionOptions*, OpDomain*> add_domain;
constexpr Entry<51, const Value*, void**> get_data;
constexpr Entry<57, TensorInfo**> create_info;
constexpr Entry<59, TensorInfo*, const int64_t*, size_t> set_sizes;
constexpr Entry<60, const TensorInfo*, ElementType*> get_type;
constexpr Entry<61, const TensorInfo*, size_t*> get_rank;
constexpr Entry<62, const TensorInfo*, int64_t*, size_t> get_sizes;
constexpr Entry<63, const TensorInfo*, const char**, size_t> get_symbols;
constexpr Entry<65, const Value*, TensorInfo**> get_info;
constexpr Entry<86, const KernelInfo*, const char*, int64_t*> get_int;
constexpr Entry<87, const KernelInfo*, const char*, char*, size_t*> get_string;
constexpr Entry<90, const KernelContext*, size_t, const Value**> get_input;
constexpr Entry<91, KernelContext*, size_t, const int64_t*, size_t, Value**> get_output;
constexpr Entry<230, const KernelInfo*, size_t*> get_n_inputs;
constexpr Entry<231, const KernelInfo*, size_t*> get_n_outputs;
constexpr Entry<232, const KernelInfo*, size_t, char*, size_t*> get_input_name;
constexpr Entry<233, const KernelInfo*, size_t, char*, size_t*> get_output_name;
constexpr Entry<244, const KernelInfo*, char*, size_t*> get_node_name;
constexpr Entry<249, const KernelInfo*, size_t, int*, const Value**> get_constant_input;
constexpr Entry<268, const ShapeContext*, size_t, const TensorInfo**> get_input_info;
constexpr Entry<270, const ShapeContext*, size_t, const TensorInfo*> set_output_info;
constexpr Entry<271, TensorInfo*, const char**, size_t> set_symbols;
constexpr Entry<274, const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*>
    parallel_for;

// Those that do not.
constexpr size_t create_status = 0;      // (ErrorCode, const char*) -> Status*
constexpr size_t get_error_message = 2;  // (const Status*) -> const char*
constexpr size_t release_status = 93;    // (Status*)
constexpr size_t release_info = 99;      // (TensorInfo*)

}  // namespace ort
