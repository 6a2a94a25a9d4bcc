// The Python module ultrafastbert._native. Arrays come as addresses: the cheapest call, and no
// dependency on PyTorch.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <tuple>

#include "blas_layer.h"
#include "fff.h"
#include "large_pages.h"
#include "machine.h"

namespace nb = nanobind;
using Address = std::uintptr_t;

namespace {

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

void check_given(const char* name, Address address) {
  if (!address) throw std::invalid_argument(std::string(name) + " is a null pointer");
}

template <class Enum>
Enum checked(const char* name, int number, Enum last) {
  if (number < 0 || number > static_cast<int>(last))
    throw std::invalid_argument(std::string(name) + "=" + std::to_string(number) +
                                " must be within 0.." + std::to_string(static_cast<int>(last)));
  return static_cast<Enum>(number);
}

// Address, type, rows of a tree, address of the scales or 0.
using RowsArgument = std::tuple<Address, int, int64_t, Address>;

fff::Rows rows(const RowsArgument& argument) {
  const auto& [data, type, rows_per_tree, scale] = argument;
  return {pointer<const void>(data), checked("type", type, fff::Type::int8), rows_per_tree,
          pointer<const float>(scale)};
}

// A layer's sizes and the addresses of its weights, which the caller keeps alive.
class Layer {
 public:
  Layer(int activations, int64_t hidden_size, int64_t output_size, int64_t n_trees, int64_t depth,
        int64_t leaf_size, int activation, bool node_output, const RowsArgument& nodes,
        const RowsArgument& leaves, const RowsArgument& out, Address bias)
      : shape_{0,
               hidden_size,
               output_size,
               n_trees,
               depth,
               leaf_size,
               checked("activation", activation, fff::Activation::linear),
               node_output,
               1},
        activations_(checked("activations", activations, fff::Type::int8)),
        weights_{rows(nodes), rows(leaves), rows(out), pointer<const void>(bias)} {
    fff::validate(shape_);
    for (const void* data : {weights_.nodes.data, weights_.leaves.data, weights_.out.data,
                             weights_.bias})
      check_given("a weight", reinterpret_cast<Address>(data));
    fff::validate(activations_, weights_);
  }

  void forward(int64_t n_tokens, int n_threads, Address x, Address y, Address leaf,
               Address logits) const {
    if (n_tokens == 0) return;
    const fff::Shape shape = shape_for(n_tokens, n_threads);
    check_given("x", x);
    check_given("y", y);
    nb::gil_scoped_release release;
    fff::forward(shape, activations_, weights_, pointer<const void>(x), pointer<void>(y),
                 pointer<int64_t>(leaf), pointer<void>(logits));
  }

  void backward(int64_t n_tokens, int n_threads, Address grad_y, Address x, Address leaf,
                Address logits, Address grad_x, Address grad_w_in, Address grad_b_in,
                Address grad_w_out) const {
    const fff::Shape shape = shape_for(n_tokens, n_threads);
    if (n_tokens > 0)
      for (Address a : {grad_y, x, leaf, logits}) check_given("an argument of backward", a);
    nb::gil_scoped_release release;
    fff::backward(shape, activations_, weights_, pointer<const void>(grad_y),
                  pointer<const void>(x), pointer<const int64_t>(leaf), pointer<const void>(logits),
                  {pointer<void>(grad_x), pointer<void>(grad_w_in), pointer<void>(grad_b_in),
                   pointer<void>(grad_w_out)});
  }

 private:
  fff::Shape shape_for(int64_t n_tokens, int n_threads) const {
    fff::Shape shape = shape_;
    shape.n_tokens = n_tokens;
    shape.n_threads = n_threads;
    fff::validate(shape);
    return shape;
  }

  fff::Shape shape_;
  fff::Type activations_;
  fff::Weights weights_;
};

template <class Function>
void set_routine(Function*& routine, Address address) {
  check_given("a BLAS routine", address);
  routine = pointer<Function>(address);
}

// routines: sdot, saxpy, sgemv, sger, sgemm; sizes: K, D, L, H, O
void blas_forward(const std::vector<Address>& routines, int level, const std::vector<int>& sizes,
                  int n_tokens, Address x, Address w_in, Address b_in, Address w_out, Address y,
                  Address leaf) {
  fff::BlasRoutines blas;
  set_routine(blas.sdot, routines.at(0));
  set_routine(blas.saxpy, routines.at(1));
  set_routine(blas.sgemv, routines.at(2));
  set_routine(blas.sger, routines.at(3));
  set_routine(blas.sgemm, routines.at(4));
  const fff::BlasLayer layer{sizes.at(0), sizes.at(1), sizes.at(2), sizes.at(3), sizes.at(4),
                             pointer<const float>(w_in), pointer<const float>(b_in),
                             pointer<const float>(w_out)};
  nb::gil_scoped_release release;
  fff::blas_forward(blas, level, layer, n_tokens, pointer<const float>(x), pointer<float>(y),
                    pointer<int64_t>(leaf));
}

}  // namespace

NB_MODULE(_native, m) {
  nb::class_<Layer>(m, "Layer")
      .def(nb::init<int, int64_t, int64_t, int64_t, int64_t, int64_t, int, bool,
                    const RowsArgument&, const RowsArgument&, const RowsArgument&, Address>())
      .def("forward", &Layer::forward, nb::arg("n_tokens"), nb::arg("n_threads"), nb::arg("x"),
           nb::arg("y"), nb::arg("leaf") = 0, nb::arg("logits") = 0)
      .def("backward", &Layer::backward);
  m.def("use_large_pages", [](Address data, int64_t n_bytes) {
    nb::gil_scoped_release release;
    fff::use_large_pages(pointer<const void>(data), n_bytes);
  });
  m.def("instruction_set", fff::instruction_set);
  m.def("available_instruction_sets", fff::available_instruction_sets);
  m.def("blas_forward", blas_forward);
  using nogil = nb::call_guard<nb::gil_scoped_release>;
  m.def("multiply_add_rate", fff::multiply_add_rate, nogil());
  m.def("read_rate", fff::read_rate, nogil());
  m.def("write_rate", fff::write_rate, nogil());
}
