// What the phases of backward share: the arguments of a call, and its tokens sorted by leaf.
#pragma once

#include <cstdint>
#include <memory>
#include <numeric>

#include "fff.h"
#include "scratch.h"
#include "sorting.h"

namespace fff {

// What backward reads and writes.
template <class C>
struct BackwardCall {
  const Shape& shape;
  Type activations;
  const Weights& weights;
  const char* grad_y;
  const char* x;
  const int64_t* leaf;
  const C* logits;
  char* grad_x;  // this and the following: null if not wanted
  C *grad_w_in, *grad_b_in, *grad_w_out;

  bool needs_dz() const { return grad_x || grad_w_in || grad_b_in; }
};

// Per tree, token and slot, (K, T, S): act(z) and the gradient of z.
template <class C>
struct SlotValues {
  std::unique_ptr<C[]> value, dz;
};

// All tokens of each tree sorted by leaf, (K, T).
struct SortedTokens {
  std::unique_ptr<int32_t[]> token, leaf;

  explicit SortedTokens(int64_t n) : token(new int32_t[n]), leaf(new int32_t[n]) {}

  // Sorts the tokens first..first + n - 1 of tree k.
  void sort(const Shape& shape, const int64_t* leaves, int64_t k, int64_t first, int64_t n) {
    Scratch scratch;
    int32_t* by_token = scratch.take<int32_t>(n);
    for (int64_t i = 0; i < n; ++i)
      by_token[i] = static_cast<int32_t>(leaves[(first + i) * shape.n_trees + k]);
    int32_t* order = token.get() + k * shape.n_tokens + first;
    std::iota(order, order + n, 0);
    sort_by(by_token, shape.depth, 0, order, static_cast<int32_t>(n));
    int32_t* sorted = leaf.get() + k * shape.n_tokens + first;
    for (int64_t i = 0; i < n; ++i) sorted[i] = by_token[order[i]];
  }
};

}  // namespace fff
