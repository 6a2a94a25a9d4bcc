// How the work of a call is cut into pieces: constants with their reasons. `sweep.py` times them
// beside other values.
#pragma once

#include <algorithm>

#include "fff.h"
#include "kernels.h"
#include "layer.h"

namespace fff {

// A thread is worth waking for this many FMAs (some 20 us of work).
constexpr double work_per_thread = 1 << 19;
// Tokens that are routed together, down the top of the tree and then down a few of its subtrees:
// their rows of x fit half of an L2 cache (1 MB), and most rows of weights that they visit
// are shared by several of them.
constexpr int64_t block_tokens = 128;
constexpr int64_t least_block_tokens = 16;
// More tokens than a block are first routed through so many levels, block by block; then those that
// share a subtree are brought together. This top of the tree and a block fit the L2 cache.
constexpr int64_t top_levels = 6;
// Tokens of one task: enough walks that prefetch each other's tokens.
constexpr int64_t slice_tokens = 1024;
// Sorted tokens of a chunk that are summed while the rows of the next ones are prefetched.
constexpr int64_t batch_tokens = 16;
// Sorted tokens whose gradients of weights are summed by one task. Fixed, so that sums have one
// order, whatever the number of threads.
constexpr int64_t segment_tokens = 1024;
// Tokens whose rows of x and grad_y stay in the L2 cache from the gradient of x to those of
// the weights.
constexpr int64_t gradient_tokens = 64;
// Several trees: tokens that go through all of them together. More share more of a tree's rows,
// fewer keep x, then y, nearer from tree to tree; large trees tip the balance.
constexpr int64_t small_tree_bytes = 512 << 10;
constexpr int64_t tokens_per_small_tree = 512, tokens_per_large_tree = 2048;
// Results of more bytes than this do not fit the cache: they are written by non-temporal stores.
constexpr int64_t streamed_bytes = 4 << 20;

// Leaves of so many rows of int8 are worth making a token's numbers integers for.
constexpr int64_t least_integer_leaf = 8;

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Whether leaves are multiplied, or rows of the output summed, in integers. The same for all
// tokens.
template <class C>
bool multiplies_in_integers(const Shape& shape, const Weights& weights) {
  return weights.leaves.type == Type::int8 && shape.leaf_size >= least_integer_leaf &&
         shape.hidden_size <= most_integer_columns && kernels<C>().integer_dots;
}

template <class C>
bool sums_in_integers(const Shape& shape, const Weights& weights) {
  return weights.out.type == Type::int8 && shape.leaf_size >= least_integer_leaf &&
         shape.n_slots() <= most_integer_rows && kernels<C>().integer_sums;
}

inline int useful_threads(const Shape& shape, double extra_work = 0) {
  const double products = static_cast<double>(shape.n_tokens) * shape.n_trees * shape.n_slots();
  const double work = products * (shape.hidden_size + shape.output_size) + extra_work;
  return static_cast<int>(std::clamp(work / work_per_thread, 1.0, double(shape.n_threads)));
}

// Tokens that go through all trees before the next ones do: all of them for a single tree.
inline int64_t tokens_per_pass(const Shape& shape, const Weights& weights, int n_threads) {
  if (shape.n_trees == 1) return std::max<int64_t>(shape.n_tokens, 1);
  const int64_t bytes = shape.n_rows() * (shape.hidden_size * size_of(weights.leaves.type) +
                                          shape.output_size * size_of(weights.out.type));
  const int64_t most = bytes <= small_tree_bytes ? tokens_per_small_tree : tokens_per_large_tree;
  const int64_t n_tokens = std::max<int64_t>(shape.n_tokens, 1);
  const int64_t n_passes = ceil_divide(ceil_divide(n_tokens, most), n_threads) * n_threads;
  return std::max(ceil_divide(n_tokens, n_passes), least_block_tokens);
}

// Tokens of one task among n.
inline int64_t tokens_per_task(int64_t n, int n_threads, int64_t most) {
  if (n_threads == 1) return most;
  return std::clamp(ceil_divide(n, 2 * int64_t{n_threads}), least_block_tokens, most);
}

// Streaming stores need rows aligned to a cache line.
inline bool can_stream(const void* rows, Type type, int64_t n_rows, int64_t n_columns) {
  return type != Type::bfloat16 && n_rows * n_columns * size_of(type) > streamed_bytes &&
         reinterpret_cast<uintptr_t>(rows) % 64 == 0 && n_columns * size_of(type) % 64 == 0;
}

}  // namespace fff
