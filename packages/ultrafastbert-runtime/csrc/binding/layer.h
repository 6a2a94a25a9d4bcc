// The Python class ultrafastbert_runtime._native.Layer.
#pragma once

#include <nanobind/nanobind.h>

#include <tuple>

#include "address.h"
#include "core/fff.h"
#include "tensor.h"

namespace binding {

namespace nb = nanobind;

// Address, type, rows of a tree, address of the scales or 0.
using RowsArgument = std::tuple<Address, fff::Type, int64_t, Address>;

inline fff::Rows rows(const RowsArgument& argument) {
  const auto& [data, type, rows_per_tree, scale] = argument;
  return {pointer<const void>(data), type, rows_per_tree, pointer<const float>(scale)};
}

// A layer's sizes and the addresses of its weights, which the caller keeps alive.
class Layer {
 public:
  Layer(fff::Type activations, int64_t hidden_size, int64_t output_size, int64_t n_trees,
        int64_t depth, int64_t leaf_size, fff::Activation activation, bool node_output,
        const RowsArgument& nodes, const RowsArgument& leaves, const RowsArgument& out,
        Address bias)
      : shape_{0, hidden_size, output_size, n_trees, depth, leaf_size, activation, node_output, 1},
        activations_(activations),
        weights_{rows(nodes), rows(leaves), rows(out), pointer<const void>(bias)} {
    fff::validate(shape_);
    for (const void* data :
         {weights_.nodes.data, weights_.leaves.data, weights_.out.data, weights_.bias})
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

  // Whether x (..., H) is what the layer takes, as it lies in memory.
  bool takes(const TensorView& x) const {
    return is_on_cpu(x) && has_type(x, activations_) && x.ndim > 0 &&
           x.shape[x.ndim - 1] == shape_.hidden_size && is_contiguous(x) &&
           (x.data || n_elements(x) == 0);
  }

  const fff::Shape& shape() const { return shape_; }

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

}  // namespace binding
