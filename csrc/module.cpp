// The Python module ultrafastbert._native. Arrays come as addresses: the cheapest call, and no
// dependency on PyTorch.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "blas_layer.h"
#include "fff.h"
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

fff::Shape make_shape(int64_t n_tokens, int64_t hidden_size, int64_t output_size, int64_t n_trees,
                      int64_t depth, int64_t leaf_size, int activation, bool node_output,
                      int n_threads) {
  if (activation < 0 || activation > static_cast<int>(fff::Activation::linear))
    throw std::invalid_argument("activation=" + std::to_string(activation) +
                                " must be within 0..5");
  const fff::Shape shape{n_tokens,
                         hidden_size,
                         output_size,
                         n_trees,
                         depth,
                         leaf_size,
                         static_cast<fff::Activation>(activation),
                         node_output,
                         n_threads};
  fff::validate(shape);
  return shape;
}

template <class T>
void forward(const fff::Shape& shape, Address x, Address w_in, Address b_in, Address w_out,
             Address y, Address leaf, Address logits) {
  if (shape.n_tokens == 0) return;
  for (Address a : {x, w_in, b_in, w_out, y, leaf, logits})
    check_given("an argument of forward", a);
  nb::gil_scoped_release release;
  fff::forward<T>(shape, pointer<const T>(x), pointer<const T>(w_in), pointer<const T>(b_in),
                  pointer<const T>(w_out), pointer<T>(y), pointer<int64_t>(leaf),
                  pointer<T>(logits));
}

template <class T>
void backward(const fff::Shape& shape, Address grad_y, Address x, Address w_in, Address w_out,
              Address leaf, Address logits, Address grad_x, Address grad_w_in, Address grad_b_in,
              Address grad_w_out) {
  if (shape.n_tokens > 0)
    for (Address a : {grad_y, x, w_in, w_out, leaf, logits})
      check_given("an argument of backward", a);
  nb::gil_scoped_release release;
  fff::backward<T>(
      shape, pointer<const T>(grad_y), pointer<const T>(x), pointer<const T>(w_in),
      pointer<const T>(w_out), pointer<const int64_t>(leaf), pointer<const T>(logits),
      {pointer<T>(grad_x), pointer<T>(grad_w_in), pointer<T>(grad_b_in), pointer<T>(grad_w_out)});
}

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
  nb::class_<fff::Shape>(m, "Shape")
      .def("__init__", [](fff::Shape* self, int64_t n_tokens, int64_t hidden_size,
                          int64_t output_size, int64_t n_trees, int64_t depth, int64_t leaf_size,
                          int activation, bool node_output, int n_threads) {
        new (self) fff::Shape(make_shape(n_tokens, hidden_size, output_size, n_trees, depth,
                                         leaf_size, activation, node_output, n_threads));
      });
  m.def("forward_float32", forward<float>);
  m.def("forward_float64", forward<double>);
  m.def("backward_float32", backward<float>);
  m.def("backward_float64", backward<double>);
  m.def("instruction_set", fff::instruction_set);
  m.def("available_instruction_sets", fff::available_instruction_sets);
  m.def("blas_forward", blas_forward);
  using nogil = nb::call_guard<nb::gil_scoped_release>;
  m.def("multiply_add_rate", fff::multiply_add_rate, nogil());
  m.def("read_rate", fff::read_rate, nogil());
  m.def("write_rate", fff::write_rate, nogil());
}
