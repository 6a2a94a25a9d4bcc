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
#include "tensor.h"

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

  // Whether x (..., H) is what the layer takes, as it lies in memory.
  bool takes(const fff::TensorView& x) const {
    return x.device_type == fff::TensorView::cpu && x.is(activations_) && x.n_sizes > 0 &&
           x.sizes[x.n_sizes - 1] == shape_.hidden_size && x.is_contiguous();
  }

  int64_t hidden_size() const { return shape_.hidden_size; }
  int64_t output_size() const { return shape_.output_size; }

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

// The shortest way to call a layer with tensors, for inference. Everything that a call must ask of
// PyTorch is asked from here.
class Call {
 public:
  // exchange: PyTorch's table for its tensors of type `tensor`. held: names of the weights in
  // `holder`. obstacles: functions () -> whether something stands in the way. empty_like, n_threads:
  // PyTorch's.
  Call(const Layer& layer, const nb::capsule& exchange, nb::type_object tensor, nb::dict holder,
       const std::vector<nb::str>& held, std::vector<nb::callable> obstacles,
       nb::callable empty_like, nb::callable n_threads)
      : layer_(layer),
        table_(static_cast<const fff::ExchangeTable*>(exchange.data("dlpack_exchange_api"))),
        tensor_(std::move(tensor)),
        holder_(std::move(holder)),
        obstacles_(std::move(obstacles)),
        empty_like_(std::move(empty_like)),
        n_threads_(std::move(n_threads)) {
    if (table_->major_version != fff::ExchangeTable::known_version || !table_->view)
      throw std::invalid_argument("the exchange table of tensors is of an unknown kind");
    for (const nb::str& name : held) {
      fff::TensorView weight;
      if (!view(holder_[name], weight)) throw std::invalid_argument("a weight is no tensor");
      held_.emplace_back(name, weight.address());
    }
  }

  // Whether the weights are where they were.
  bool holds() const {
    for (const auto& [name, address] : held_) {
      fff::TensorView weight;
      PyObject* found = PyDict_GetItemWithError(holder_.ptr(), name.ptr());
      if (!found || !view(found, weight) || weight.address() != address) return false;
    }
    return true;
  }

  // y (..., O) of x (..., H), or None where x is not what the layer takes as it is, where there is an
  // obstacle, or where weights have moved.
  nb::object operator()(nb::handle x) const {
    fff::TensorView in, out;
    if (reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())) != tensor_.ptr() || is_obstructed())
      return nb::none();
    if (!view(x, in) || !layer_.takes(in) || !holds()) return nb::none();
    nb::object y = layer_.hidden_size() == layer_.output_size() ? empty_like_(x) : new_output(x, in);
    if (!view(y, out)) return nb::none();
    const int64_t n_tokens = in.n_elements() / layer_.hidden_size();
    layer_.forward(n_tokens, nb::cast<int>(n_threads_()), address(in), address(out), 0, 0);
    return y;
  }

 private:
  static Address address(const fff::TensorView& view) {
    return reinterpret_cast<Address>(view.address());
  }

  bool view(nb::handle tensor, fff::TensorView& view) const {
    if (table_->view(tensor.ptr(), &view) == 0) return true;
    PyErr_Clear();  // a tensor of a kind that has no address
    return false;
  }

  bool is_obstructed() const {
    for (const nb::callable& obstacle : obstacles_) {
      const nb::object answer = obstacle();
      if (!answer.is_none() && PyObject_IsTrue(answer.ptr()) != 0) return true;
    }
    return false;
  }

  nb::object new_output(nb::handle x, const fff::TensorView& in) const {
    nb::list sizes;
    for (int32_t i = 0; i + 1 < in.n_sizes; ++i) sizes.append(in.sizes[i]);
    sizes.append(layer_.output_size());
    return x.attr("new_empty")(sizes);
  }

  Layer layer_;
  const fff::ExchangeTable* table_;
  nb::type_object tensor_;
  nb::dict holder_;
  std::vector<std::pair<nb::str, const void*>> held_;
  std::vector<nb::callable> obstacles_;
  nb::callable empty_like_, n_threads_;
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
  nb::class_<Call>(m, "Call")
      .def(nb::init<const Layer&, const nb::capsule&, nb::type_object, nb::dict,
                    const std::vector<nb::str>&, std::vector<nb::callable>, nb::callable,
                    nb::callable>())
      .def("holds", &Call::holds)
      .def("__call__", &Call::operator(), nb::arg("x").none());
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
