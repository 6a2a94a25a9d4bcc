// The Python module ultrafastbert_runtime._native. Nothing of PyTorch is needed to build it: arrays come as
// addresses, or as tensors by DLPack's table of functions (tensor.h).
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "address.h"
#include "call.h"
#include "core/fff.h"
#include "core/huge_pages.h"
#include "layer.h"
#include "tensor.h"

namespace nb = nanobind;
using namespace binding;

namespace {

PyType_Slot call_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Call::traverse)},
                            {0, nullptr}};

void add_enums(nb::module_& m) {
  nb::enum_<fff::Activation>(m, "Activation", "Activation function of the neurons.")
      .value("gelu", fff::Activation::gelu)
      .value("gelu_pytorch_tanh", fff::Activation::gelu_pytorch_tanh)
      .value("relu", fff::Activation::relu)
      .value("silu", fff::Activation::silu)
      .value("tanh", fff::Activation::tanh)
      .value("linear", fff::Activation::linear);
  nb::enum_<fff::Type>(m, "Type", "Type of an array's elements.")
      .value("float32", fff::Type::float32)
      .value("float64", fff::Type::float64)
      .value("bfloat16", fff::Type::bfloat16)
      .value("int8", fff::Type::int8);
}

void add_layer(nb::module_& m) {
  nb::class_<Layer>(m, "Layer", "Sizes of a layer and addresses of its weights.")
      .def(nb::init<fff::Type, int64_t, int64_t, int64_t, int64_t, int64_t, fff::Activation, bool,
                    const RowsArgument&, const RowsArgument&, const RowsArgument&, Address>(),
           nb::sig("def __init__(self, activations: Type, hidden_size: int, output_size: int, "
                   "n_trees: int, depth: int, leaf_size: int, activation: Activation, "
                   "node_output: bool, nodes: tuple[int, Type, int, int], "
                   "leaves: tuple[int, Type, int, int], out: tuple[int, Type, int, int], "
                   "bias: int, /) -> None"))
      .def("forward", &Layer::forward, nb::arg("n_tokens"), nb::arg("n_threads"), nb::arg("x"),
           nb::arg("y"), nb::arg("leaf") = 0, nb::arg("logits") = 0)
      .def("backward", &Layer::backward,
           nb::sig("def backward(self, n_tokens: int, n_threads: int, grad_y: int, x: int, "
                   "leaf: int, logits: int, grad_x: int, grad_w_in: int, grad_b_in: int, "
                   "grad_w_out: int, /) -> None"));
}

void add_call(nb::module_& m) {
  nb::class_<Call>(m, "Call", nb::type_slots(call_slots), "A layer called with tensors.")
      .def(nb::init<const Layer&, nb::handle, nb::dict, const std::vector<nb::str>&,
                    const nb::type_object&, const nb::callable&, const std::vector<nb::callable>&,
                    const nb::callable&, const nb::callable&, const nb::object&>(),
           nb::arg("layer"), nb::arg("table"), nb::arg("holder"), nb::arg("held"),
           nb::arg("tensor"), nb::arg("is_neg"), nb::arg("obstacles"), nb::arg("empty_like"),
           nb::arg("n_threads"), nb::arg("leaf_type").none())
      .def("holds", &Call::holds)
      .def("__call__", &Call::operator(), nb::arg("x").none());
  m.def(
      "is_exchange_table", [](nb::handle table) { return exchange_table(table) != nullptr; },
      nb::arg("table").none());
}

}  // namespace

NB_MODULE(_native, m) {
  // Layers may outlive the interpreter: threads that still run at exit hold some.
  nb::set_leak_warnings(false);
  add_enums(m);
  add_layer(m);
  add_call(m);
  m.def(
      "use_huge_pages",
      [](Address data, int64_t n_bytes) {
        nb::gil_scoped_release release;
        fff::use_huge_pages(pointer<const void>(data), n_bytes);
      },
      nb::arg("data"), nb::arg("n_bytes"));
  m.def("instruction_set", fff::instruction_set);
  m.def("available_instruction_sets", fff::available_instruction_sets);
}
