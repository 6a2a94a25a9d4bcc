// The Python module ultrafastbert._native. Arrays come as addresses, or as tensors by DLPack's table
// of functions (tensor.h): cheap calls, and nothing of PyTorch is needed to build this.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <tuple>

#include "bench/blas_layer.h"
#include "core/fff.h"
#include "core/huge_pages.h"
#include "bench/machine.h"
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
           x.sizes[x.n_sizes - 1] == shape_.hidden_size && x.is_contiguous() &&
           (x.data || x.n_elements() == 0);
  }

  const fff::Shape& shape() const { return shape_; }

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

// PyTorch's table of functions for tensors, or null where there is none that is known.
const fff::ExchangeTable* exchange_table(nb::handle capsule) {
  if (!PyCapsule_IsValid(capsule.ptr(), fff::ExchangeTable::capsule_name)) return nullptr;
  const auto* table = static_cast<const fff::ExchangeTable*>(
      PyCapsule_GetPointer(capsule.ptr(), fff::ExchangeTable::capsule_name));
  const bool is_known = table->major_version == fff::ExchangeTable::known_version && table->view;
  return is_known ? table : nullptr;
}

// What a call asks of PyTorch, besides its table.
struct Asked {
  nb::type_object tensor;               // the type of plain tensors
  nb::callable is_neg;                  // tensor -> whether its numbers are to be negated
  std::vector<nb::callable> obstacles;  // functions () -> whether something stands in the way
  nb::callable empty_like, n_threads;
  nb::object leaf_type;  // int64 where leaves are wanted, too, or None
};

// A weight: where it was found, and what it was.
struct Held {
  nb::str name;
  const PyObject* object;  // only compared
  fff::TensorPlace place;
};

// The shortest way to call a layer with tensors, for inference. Everything that a call must ask of
// PyTorch is asked from here.
class Call {
 public:
  // held: names of the weights in `holder`.
  Call(const Layer& layer, nb::handle table, nb::dict holder, const std::vector<nb::str>& held,
       const nb::type_object& tensor, const nb::callable& is_neg,
       const std::vector<nb::callable>& obstacles, const nb::callable& empty_like,
       const nb::callable& n_threads, const nb::object& leaf_type)
      : layer_(layer),
        table_(exchange_table(table)),
        holder_(std::move(holder)),
        asked_{tensor, is_neg, obstacles, empty_like, n_threads, leaf_type} {
    if (!table_) throw std::invalid_argument("the exchange table of tensors is of an unknown kind");
    for (const nb::str& name : held) {
      fff::TensorView weight;
      const nb::object found = holder_[name];
      if (!view(found, weight)) throw std::invalid_argument("a weight has no address");
      held_.push_back({name, found.ptr(), fff::TensorPlace(weight)});
    }
  }

  // Whether the weights are what and where they were.
  bool holds() const {
    for (const Held& held : held_) {
      fff::TensorView weight;
      PyObject* found = PyDict_GetItemWithError(holder_.ptr(), held.name.ptr());
      // Another object may be of another kind, though it is at the same address.
      if (found != held.object || is_true(asked_.is_neg(nb::handle(found))) ||
          !view(found, weight) || !held.place.is_of(weight))
        return false;
    }
    return true;
  }

  // y (..., O) of x (..., H), with the leaves (..., K) where they are wanted; None where x is not
  // what the layer takes as it is, where there is an obstacle, or where weights have moved.
  nb::object operator()(nb::handle x) const {
    fff::TensorView in, out, leaf{};
    const bool is_plain = reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())) == asked_.tensor.ptr();
    if (!is_plain || is_obstructed() || is_true(asked_.is_neg(x)) || !view(x, in) ||
        !layer_.takes(in) || !holds())
      return nb::none();
    const fff::Shape& shape = layer_.shape();
    nb::object y = shape.hidden_size == shape.output_size
                       ? asked_.empty_like(x)
                       : x.attr("new_empty")(with_last(in, shape.output_size));
    nb::object leaves;
    if (!asked_.leaf_type.is_none())
      leaves = x.attr("new_empty")(with_last(in, shape.n_trees),
                                   nb::arg("dtype") = asked_.leaf_type);
    if (!view(y, out) || (leaves.is_valid() && !view(leaves, leaf))) return nb::none();
    const int64_t n_tokens = in.n_elements() / shape.hidden_size;
    layer_.forward(n_tokens, nb::cast<int>(asked_.n_threads()), address(in), address(out),
                   address(leaf), 0);
    return leaves.is_valid() ? nb::make_tuple(y, leaves) : y;
  }

  // The garbage collector must see the dictionary of weights: hooks of weights lead back to layers.
  static int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<Call>(self)->holder_.ptr());
    return 0;
  }

 private:
  static Address address(const fff::TensorView& view) {
    return reinterpret_cast<Address>(view.address());
  }

  static nb::list with_last(const fff::TensorView& tensor, int64_t last) {
    nb::list sizes;
    for (int32_t i = 0; i + 1 < tensor.n_sizes; ++i) sizes.append(tensor.sizes[i]);
    sizes.append(last);
    return sizes;
  }

  bool view(nb::handle tensor, fff::TensorView& view) const {
    if (table_->view(tensor.ptr(), &view) == 0) return true;
    PyErr_Clear();  // a tensor of a kind that has no address
    return false;
  }

  static bool is_true(const nb::object& answer) {
    return !answer.is_none() && PyObject_IsTrue(answer.ptr()) != 0;
  }

  bool is_obstructed() const {
    for (const nb::callable& obstacle : asked_.obstacles)
      if (is_true(obstacle())) return true;
    return false;
  }

  Layer layer_;
  const fff::ExchangeTable* table_;
  nb::dict holder_;
  std::vector<Held> held_;
  Asked asked_;
};

PyType_Slot call_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Call::traverse)}, {0, nullptr}};

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
  // Layers may outlive the interpreter: threads that still run at exit hold some.
  nb::set_leak_warnings(false);
  nb::class_<Layer>(m, "Layer")
      .def(nb::init<int, int64_t, int64_t, int64_t, int64_t, int64_t, int, bool,
                    const RowsArgument&, const RowsArgument&, const RowsArgument&, Address>())
      .def("forward", &Layer::forward, nb::arg("n_tokens"), nb::arg("n_threads"), nb::arg("x"),
           nb::arg("y"), nb::arg("leaf") = 0, nb::arg("logits") = 0)
      .def("backward", &Layer::backward);
  nb::class_<Call>(m, "Call", nb::type_slots(call_slots))
      .def(nb::init<const Layer&, nb::handle, nb::dict, const std::vector<nb::str>&,
                    const nb::type_object&, const nb::callable&, const std::vector<nb::callable>&,
                    const nb::callable&, const nb::callable&, const nb::object&>(),
           nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg("tensor"), nb::arg("is_neg"),
           nb::arg("obstacles"), nb::arg("empty_like"), nb::arg("n_threads"),
           nb::arg("leaf_type").none())
      .def("holds", &Call::holds)
      .def("__call__", &Call::operator(), nb::arg("x").none());
  m.def("is_exchange_table", [](nb::handle table) { return exchange_table(table) != nullptr; },
        nb::arg("table").none());
  m.def("use_huge_pages", [](Address data, int64_t n_bytes) {
    nb::gil_scoped_release release;
    fff::use_huge_pages(pointer<const void>(data), n_bytes);
  });
  m.def("instruction_set", fff::instruction_set);
  m.def("available_instruction_sets", fff::available_instruction_sets);
  m.def("blas_forward", blas_forward);
  using nogil = nb::call_guard<nb::gil_scoped_release>;
  m.def("multiply_add_rate", fff::multiply_add_rate, nogil());
  m.def("read_rate", fff::read_rate, nogil());
  m.def("write_rate", fff::write_rate, nogil());
}
