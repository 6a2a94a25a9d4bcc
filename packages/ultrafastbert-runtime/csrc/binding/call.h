// The Python class ultrafastbert_runtime._native.Call: the shortest way to call a layer, for inference.
#pragma once

#include <nanobind/nanobind.h>

#include <stdexcept>
#include <utility>
#include <vector>

#include "layer.h"
#include "tensor.h"

namespace binding {

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
  TensorPlace place;
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
      TensorView weight;
      const nb::object found = holder_[name];
      if (!view(found, weight)) throw std::invalid_argument("a weight has no address");
      held_.push_back({name, found.ptr(), TensorPlace(weight)});
    }
  }

  // Whether the weights are what and where they were.
  bool holds() const {
    for (const Held& held : held_) {
      TensorView weight;
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
    TensorView in, out, leaf{};
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
      leaves =
          x.attr("new_empty")(with_last(in, shape.n_trees), nb::arg("dtype") = asked_.leaf_type);
    if (!view(y, out) || (leaves.is_valid() && !view(leaves, leaf))) return nb::none();
    const int64_t n_tokens = n_elements(in) / shape.hidden_size;
    layer_.forward(n_tokens, nb::cast<int>(asked_.n_threads()), address_of(in), address_of(out),
                   address_of(leaf), 0);
    return leaves.is_valid() ? nb::make_tuple(y, leaves) : y;
  }

  // The garbage collector must see the dictionary of weights: hooks of weights lead back to layers.
  static int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<Call>(self)->holder_.ptr());
    return 0;
  }

 private:
  static Address address_of(const TensorView& view) {
    return reinterpret_cast<Address>(address(view));
  }

  static nb::list with_last(const TensorView& tensor, int64_t last) {
    nb::list sizes;
    for (int32_t i = 0; i + 1 < tensor.ndim; ++i) sizes.append(tensor.shape[i]);
    sizes.append(last);
    return sizes;
  }

  bool view(nb::handle tensor, TensorView& view) const {
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
  const ExchangeTable* table_;
  nb::dict holder_;
  std::vector<Held> held_;
  Asked asked_;
};

}  // namespace binding
