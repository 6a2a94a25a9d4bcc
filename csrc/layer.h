// A layer's weights as rows of one tree, and its tokens as groups that share a place in it.
#pragma once

#include <cstdint>

#include "fff.h"
#include "kernels.h"

namespace fff {

constexpr int64_t size_of(Type type) {
  return type == Type::float64 ? 8 : type == Type::float32 ? 4 : type == Type::bfloat16 ? 2 : 1;
}

// The rows of one tree in one of the three parts of the weights.
struct TreeRows {
  const char* data;
  int64_t row_bytes;
  const float* scale;  // null: ones

  TreeRows(const Rows& rows, int64_t n_columns, int64_t tree)
      : data(static_cast<const char*>(rows.data) +
             tree * rows.rows_per_tree * n_columns * size_of(rows.type)),
        row_bytes(n_columns * size_of(rows.type)),
        scale(rows.scale ? rows.scale + tree * rows.rows_per_tree : nullptr) {}

  const void* row(int64_t r) const { return data + r * row_bytes; }
  float scale_of(int64_t r) const { return scale ? scale[r] : 1.0f; }
};

// One tree of the layer. Places are numbered in heap order: nodes 0..N-1, leaves N..2N.
template <class C>
struct Tree {
  const Shape& shape;
  TreeRows nodes, leaves, out;
  const C* bias;  // (R)

  Tree(const Shape& layer, const Weights& weights, int64_t tree)
      : shape(layer),
        nodes(weights.nodes, layer.hidden_size, tree),
        leaves(weights.leaves, layer.hidden_size, tree),
        out(weights.out, layer.output_size, tree),
        bias(static_cast<const C*>(weights.bias) + tree * layer.n_rows()) {}

  // A node's own row, or the first row of a leaf.
  int64_t first_row(int64_t place) const {
    const int64_t leaf = place - shape.n_nodes();
    return leaf < 0 ? place : shape.n_nodes() + leaf * shape.leaf_size;
  }

  // The row of a slot on the path to the leaf at `place`.
  int64_t slot_row(int64_t place, int64_t slot) const {
    if (slot >= shape.depth) return first_row(place) + slot - shape.depth;
    return ((place + 1) >> (shape.depth - slot)) - 1;
  }

  const void* in_row(int64_t r) const {
    return r < shape.n_nodes() ? nodes.row(r) : leaves.row(r - shape.n_nodes());
  }
  int64_t in_row_bytes(int64_t r) const {
    return r < shape.n_nodes() ? nodes.row_bytes : leaves.row_bytes;
  }
  C in_scale(int64_t r) const {
    return r < shape.n_nodes() ? nodes.scale_of(r) : leaves.scale_of(r - shape.n_nodes());
  }
};

// Tokens order[begin..end-1] of a walk, which share a place.
struct Group {
  int32_t place;
  int32_t begin;
  int32_t end;
};

// Calls push(row) for the slots first..S-1 of the path to `place` that are not on the path to
// `before`, another leaf, or to none if that is -1.
template <class C, class Push>
void for_new_slots(const Tree<C>& tree, int64_t place, int64_t before, int64_t first, Push push) {
  for (int64_t s = tree.shape.n_slots() - 1; s >= first; --s) {
    const int64_t row = tree.slot_row(place, s);
    if (before >= 0 && tree.slot_row(before, s) == row) return;
    push(row);
  }
}

}  // namespace fff
