// A layer's weights as rows of one tree, and its tokens as groups that share a place in it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fff.h"
#include "kernels.h"
#include "scratch.h"

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

// Rows as integers with a scale of each.
struct Integers {
  int16_t* number;  // or null
  float* scale;
};

// Tokens order[begin..end-1] of a walk, which share a place.
struct Group {
  int32_t place;
  int32_t begin;
  int32_t end;
};

// The rows on the paths of tokens sorted by leaf, (n, S - first_slot()), and when each is
// prefetched: with the first token that needs it.
class PathRows {
 public:
  // place(i): the leaf of token i, in heap order. row(r): where row r is. bytes(r): its length.
  template <class C, class Place, class Row, class Bytes>
  PathRows(const Tree<C>& tree, int64_t n, Place place, Row row, Bytes bytes, Scratch& scratch)
      : n_rows_(tree.shape.n_slots() - tree.shape.first_slot()),
        rows_(scratch.take<const void*>(n * n_rows_)),
        n_new_(scratch.take<int32_t>(n)),
        bytes_(scratch.take<int32_t>(n_rows_)) {
    const int64_t slot = tree.shape.first_slot();
    for (int64_t i = 0; i < n; ++i) {
      const void** rows = rows_ + i * n_rows_;
      n_new_[i] = 0;
      if (i > 0 && place(i) == place(i - 1)) {
        std::copy_n(rows - n_rows_, n_rows_, rows);
        continue;
      }
      for (int64_t r = 0; r < n_rows_; ++r) {
        const int64_t at = tree.slot_row(place(i), slot + r);
        rows[r] = row(at);
        bytes_[r] = static_cast<int32_t>(bytes(at));
        n_new_[i] += i == 0 || rows[r] != rows[r - n_rows_];
      }
    }
  }

  int64_t n_rows() const { return n_rows_; }
  const void* const* of(int64_t i) const { return rows_ + i * n_rows_; }

  // Fetches what tokens begin..end - 1 need and the token before them does not.
  void prefetch(int64_t begin, int64_t end, Prefetcher& prefetcher) const {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t r = n_rows_ - n_new_[i]; r < n_rows_; ++r) prefetcher.push(of(i)[r], bytes_[r]);
  }

 private:
  int64_t n_rows_;
  const void** rows_;
  int32_t *n_new_, *bytes_;
};

}  // namespace fff
