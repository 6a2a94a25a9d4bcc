// Routing: some tokens on their way down one tree.
#pragma once

#include "layer.h"
#include "scratch.h"

namespace fff {

// Moves tokens down a tree level by level, in groups that share a node, so that a node's row is
// read once for all of them. A node and both its children are multiplied together: each token is
// loaded once for two levels.
template <class C>
class Walk {
 public:
  // order: n tokens, which the walk sorts by place. node and z: by token, the place it is at and
  // its logits (S). integers: x for the products with leaves, or null. Tokens that share a node on
  // `level` must follow each other.
  Walk(const Tree<C>& tree, Type activations, const Weights& weights, const void* x, int64_t level,
       int32_t* order, int32_t n, int32_t* node, C* z, Integers integers, Scratch& scratch,
       Prefetcher& prefetcher);

  // Walks down to `level`, D for the leaves.
  void descend_to(int64_t level);
  // Computes the logits of the leaves that tokens have reached.
  void enter_leaves();

 private:
  // Moves groups down one level, or two; returns how many there are then.
  int32_t step(const Group* groups, int32_t n, int64_t level, bool with_children, Group* next);
  void multiply(const Group& group, const void* const* rows, int64_t n_rows,
                typename Kernels<C>::DotsFunction dots);
  // Takes the decisions of a group; returns how many groups it falls into.
  int32_t decide(const Group& group, int64_t level, bool with_children, Group* next);
  int32_t split(const Group& group, int64_t level, int n_parts, bool with_children, Group* next);
  void prefetch(int64_t place, int64_t level, bool in_leaf);
  void prefetch_row(const void* row, int64_t bytes);
  void descend_apart(int64_t level);
  // Multiplies a group with the rows of its leaf, up to the scales of rows and of integers.
  void multiply_leaf(const Group& group);

  const Tree<C>& tree_;
  const Shape& shape_;
  const void* x_;
  typename Kernels<C>::DotsFunction node_dots_, leaf_dots_;
  bool
      leaves_are_nodes_;  // leaves of one row, of the nodes' type, are multiplied as their children
  Integers integers_;
  int64_t level_;
  int32_t *order_, *sorted_, *node_;
  int32_t n_;
  C *z_, *products_;
  uint8_t* side_;
  Group *groups_, *next_;
  int32_t n_groups_ = 0;
  bool in_leaves_ = false, in_pairs_ = true;
  Prefetcher& prefetcher_;
};

}  // namespace fff
