// Forward: tokens are routed, sorted by the leaf that they reach, and their rows summed.
#include <algorithm>
#include <numeric>

#include "blocks.h"
#include "fff.h"
#include "huge_pages.h"
#include "kernels.h"
#include "parallel.h"
#include "sorting.h"
#include "walk.h"

namespace fff {
namespace {

// What forward reads and writes.
template <class C>
struct Call {
  const Shape& shape;
  Type activations;
  const Weights& weights;
  const char* x;
  char* y;
  int64_t* leaf;  // or null
  C* logits;      // or null
};

// Tokens first..first + n - 1 on their way through one tree after the other.
template <class C>
class Pass {
 public:
  Pass(const Call<C>& call, int64_t first, int64_t n, int n_threads)
      : call_(call),
        shape_(call.shape),
        first_(first),
        n_(static_cast<int32_t>(n)),
        n_threads_(n_threads),
        x_(call.x + first * shape_.hidden_size * size_of(call.activations)),
        y_(call.y + first * shape_.output_size * size_of(call.activations)),
        y_type_(call.activations),
        order_(scratch_.take<int32_t>(n * shape_.n_trees)),
        node_(scratch_.take<int32_t>(n * shape_.n_trees)),
        z_(scratch_.take<C>(n * shape_.n_trees * shape_.n_slots())) {
    // Several trees are summed at full precision.
    if (y_type_ == Type::bfloat16 && shape_.n_trees > 1) {
      y_ = reinterpret_cast<char*>(scratch_.take<C>(n * shape_.output_size));
      y_type_ = Type::float32;
    }
    if (multiplies_in_integers<C>(shape_, call.weights))
      x_integers_ = {scratch_.take<int16_t>(n * shape_.hidden_size), scratch_.take<float>(n)};
    stream_ = shape_.n_trees == 1 && can_stream(y_, y_type_, n, shape_.output_size);
  }

  // Several trees are first walked, all of them, then summed: what each of the two reads again from
  // tree to tree, x or y, stays in the L2 cache. A single one is summed block by block, as
  // tokens reach the leaves.
  void run() {
    for (int64_t k = 0; k < shape_.n_trees; ++k) route(k);
    for (int64_t k = 0; shape_.n_trees > 1 && k < shape_.n_trees; ++k)
      for_each_slice([&](int64_t begin, int64_t end) {
        Prefetcher prefetcher;
        for (int64_t i = begin; i < end; i += block_tokens)
          add_output(k, i, std::min(block_tokens, end - i), prefetcher);
      });
    if (y_type_ == call_.activations) return;
    const int64_t n = n_ * shape_.output_size;
    kernels<C>().to_bfloat16(n, reinterpret_cast<const C*>(y_),
                             reinterpret_cast<bfloat16*>(call_.y) + first_ * shape_.output_size);
  }

 private:
  template <class Function>
  void for_each_slice(Function function) const {
    const int64_t size = tokens_per_task(n_, n_threads_, slice_tokens);
    parallel_for(ceil_divide(n_, size), n_threads_, shape_.executor,
                 [&](int64_t i) { function(i * size, std::min<int64_t>((i + 1) * size, n_)); });
  }

  // Walks all tokens down tree k; they end up sorted by leaf, block by block.
  void route(int64_t k) const {
    const Tree<C> tree(shape_, call_.weights, k);
    int32_t *order = order_ + k * n_, *node = node_ + k * n_;
    std::iota(order, order + n_, 0);
    std::fill(node, node + n_, 0);
    const bool deep = shape_.depth > top_levels || shape_.leaf_size > 1;
    const int64_t top = n_ > block_tokens && deep ? std::min(top_levels, shape_.depth) : 0;
    if (top > 0) {
      for_each_block(k, [&](const Block& block) {
        prefetch_next(k, block);
        if (k == 0) to_integers(block);
        walk(tree, k, 0, block, [&](Walk<C>& walk) { walk.descend_to(top); });
      });
      sort_by(node, top, (int32_t{1} << top) - 1, order, n_);
    }
    const bool alone = shape_.n_trees == 1;
    for_each_block(k, [&](const Block& block) {
      // Memory delivers tokens steadily while rows are summed: no other phase asks for less.
      if (!alone) prefetch_next(k, block);
      if (k == 0 && top == 0) to_integers(block);
      walk(tree, k, top, block, [&](Walk<C>& walk) {
        walk.descend_to(shape_.depth);
        walk.enter_leaves();
      });
      if (!alone) return;
      prefetch_next(k, block);
      add_output(k, block.begin, block.end - block.begin, block.prefetcher);
    });
  }

  // Tokens of a slice that are walked together.
  struct Block {
    int64_t begin, end, slice_end;
    Prefetcher& prefetcher;
  };

  // Blocks that follow each other on a thread prefetch each other's tokens.
  template <class Function>
  void for_each_block(int64_t k, Function function) const {
    const int64_t bytes = shape_.hidden_size * size_of(call_.activations);
    for_each_slice([&](int64_t first, int64_t end) {
      Prefetcher prefetcher;
      for (int64_t i = first; i < std::min(first + block_tokens, end); ++i)
        prefetcher.push(x_ + order_[k * n_ + i] * bytes, bytes);
      for (int64_t begin = first; begin < end; begin += block_tokens)
        function(Block{begin, std::min(begin + block_tokens, end), end, prefetcher});
    });
  }

  void prefetch_next(int64_t k, const Block& block) const {
    const int64_t bytes = shape_.hidden_size * size_of(call_.activations);
    const int64_t end = std::min(block.end + block_tokens, block.slice_end);
    for (int64_t i = block.end; i < end; ++i)
      block.prefetcher.push_for_later(x_ + order_[k * n_ + i] * bytes, bytes);
  }

  // Makes integers of the tokens of a block, which are in their first order.
  void to_integers(const Block& block) const {
    if (!x_integers_.number) return;
    const int64_t n = shape_.hidden_size, bytes = n * size_of(call_.activations);
    for (int64_t i = block.begin; i < block.end; ++i)
      x_integers_.scale[i] = kernels<C>().to_integers(call_.activations, n, x_ + i * bytes,
                                                      x_integers_.number + i * n);
  }

  // Moves a block of tokens, which are on a level, down a tree: function(walk).
  template <class Function>
  void walk(const Tree<C>& tree, int64_t k, int64_t level, const Block& block,
            Function function) const {
    Scratch scratch;
    Walk<C> walk(tree, call_.activations, call_.weights, x_, level, order_ + k * n_ + block.begin,
                 static_cast<int32_t>(block.end - block.begin), node_ + k * n_,
                 z_ + k * n_ * shape_.n_slots(), x_integers_, scratch, block.prefetcher);
    function(walk);
  }

  // The coefficients of n tokens in integers, with a zero after an odd number of them.
  Integers integer_coefficients(const C* value, int64_t n, int64_t n_rows, int64_t stride,
                                Scratch& scratch) const {
    const Integers integers = {scratch.take<int16_t>(n * stride), scratch.take<float>(n)};
    for (int64_t i = 0; i < n; ++i) {
      int16_t* to = integers.number + i * stride;
      to[stride - 1] = 0;
      integers.scale[i] =
          kernels<C>().to_integers(Type::float32, n_rows, value + i * shape_.n_slots(), to);
    }
    return integers;
  }

  // Sums the rows on the paths of n tokens in their order from `begin` on.
  void add_output(int64_t k, int64_t begin, int64_t n, Prefetcher& prefetcher) const {
    Scratch scratch;
    const Tree<C> tree(shape_, call_.weights, k);
    const int64_t n_slots = shape_.n_slots(), slot = shape_.first_slot();
    const int32_t *tokens = order_ + k * n_ + begin, *node = node_ + k * n_;
    C *z = scratch.take<C>(n * n_slots), *value = scratch.take<C>(n * n_slots);
    for (int64_t i = 0; i < n; ++i) {
      const C* from = z_ + (k * n_ + tokens[i]) * n_slots;
      std::copy_n(from, n_slots, z + i * n_slots);
      const int64_t at = (first_ + tokens[i]) * shape_.n_trees + k;
      if (call_.leaf) call_.leaf[at] = node[tokens[i]] - shape_.n_nodes();
      if (call_.logits) std::copy_n(from, n_slots, call_.logits + at * n_slots);
    }
    kernels<C>().activate(shape_.activation, n * n_slots, z, value, nullptr);
    for (int64_t i = 0; tree.out.scale && i < n; ++i)
      for (int64_t s = slot; s < n_slots; ++s)
        value[i * n_slots + s] *= tree.out.scale[tree.slot_row(node[tokens[i]], s)];
    const PathRows rows(
        tree, n, [&](int64_t i) { return node[tokens[i]]; },
        [&](int64_t r) { return tree.out.row(r); }, [&](int64_t) { return tree.out.row_bytes; },
        scratch);
    const int64_t n_rows = rows.n_rows(), stride = (n_rows + 1) / 2 * 2;
    const Integers integers = sums_in_integers<C>(shape_, call_.weights)
                                  ? integer_coefficients(value + slot, n, n_rows, stride, scratch)
                                  : Integers{};
    const auto sum = kernels<C>().path_sums(call_.weights.out.type, y_type_);
    for (int64_t i = 0, end; i < n; i = end) {
      end = std::min(i + batch_tokens, n);
      // Tokens of a leaf of many rows stay together.
      while (integers.number && end < n && node[tokens[end]] == node[tokens[end - 1]]) ++end;
      rows.prefetch(end, std::min(end + batch_tokens, n), prefetcher);
      PathSums<C> sums{rows.of(i),
                       n_rows,
                       shape_.output_size,
                       value + i * n_slots + slot,
                       n_slots,
                       tokens + i,
                       end - i,
                       y_,
                       k > 0,
                       stream_};
      if constexpr (std::is_same_v<C, float>) {
        if (integers.number) {
          sums.stride = stride;
          kernels<C>().integer_sums({sums, integers.number + i * stride, integers.scale + i},
                                    y_type_, prefetcher);
          continue;
        }
      }
      sum(sums, prefetcher);
    }
  }

  Scratch scratch_;
  const Call<C>& call_;
  const Shape& shape_;
  int64_t first_;
  int32_t n_;
  int n_threads_;
  const char* x_;
  char* y_;
  Type y_type_;
  int32_t *order_, *node_;
  C* z_;
  Integers x_integers_ = {};
  bool stream_;
};

template <class C>
void forward_as(const Call<C>& call) {
  const int n_threads = useful_threads(call.shape);
  const int64_t size = tokens_per_pass(call.shape, call.weights, n_threads);
  const int64_t n_passes = ceil_divide(call.shape.n_tokens, size);
  const int64_t y_bytes = call.shape.n_tokens * call.shape.output_size * size_of(call.activations);
  if (y_bytes > streamed_bytes) use_huge_pages(call.y, y_bytes);
  parallel_for(n_passes, n_threads, call.shape.executor, [&](int64_t i) {
    Pass<C>(call, i * size, std::min(size, call.shape.n_tokens - i * size),
            n_passes > 1 ? 1 : n_threads)
        .run();
  });
}

}  // namespace

void forward(const Shape& shape, Type activations, const Weights& weights, const void* x, void* y,
             int64_t* leaf, void* logits) {
  const char* from = static_cast<const char*>(x);
  char* to = static_cast<char*>(y);
  if (activations == Type::float64)
    forward_as<double>({shape, activations, weights, from, to, leaf, static_cast<double*>(logits)});
  else
    forward_as<float>({shape, activations, weights, from, to, leaf, static_cast<float*>(logits)});
}

}  // namespace fff
