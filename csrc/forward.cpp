// Forward: tokens are routed, sorted by the leaf that they reach, and their rows summed.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "blocks.h"
#include "fff.h"
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
        order_(scratch_.take<int32_t>(n)),
        node_(scratch_.take<int32_t>(n)),
        z_(scratch_.take<C>(n * shape_.n_slots())) {
    // Several trees are summed at full precision.
    if (y_type_ == Type::bfloat16 && shape_.n_trees > 1) {
      y_ = reinterpret_cast<char*>(scratch_.take<C>(n * shape_.output_size));
      y_type_ = Type::float32;
    }
    stream_ = shape_.n_trees == 1 && can_stream(y_, y_type_, n, shape_.output_size);
  }

  void run() {
    for (int64_t k = 0; k < shape_.n_trees; ++k) run_tree(k);
    if (y_type_ == call_.activations) return;
    const int64_t n = n_ * shape_.output_size;
    kernels<C>().to_bfloat16(n, reinterpret_cast<const C*>(y_),
                             reinterpret_cast<bfloat16*>(call_.y) + first_ * shape_.output_size);
  }

 private:
  void run_tree(int64_t k) {
    const Tree<C> tree(shape_, call_.weights, k);
    std::iota(order_, order_ + n_, 0);
    std::fill(node_, node_ + n_, 0);
    const bool in_two_stages = n_ > block_tokens && shape_.depth > top_levels;
    if (in_two_stages) {
      for_each_walk(tree, 0, block_tokens, [&](Walk<C>& walk, int32_t, int32_t, Scratch&,
                                               FetchAhead&) { walk.descend_to(top_levels); });
      sort_by(node_, top_levels, (int32_t{1} << top_levels) - 1, order_, n_);
    }
    for_each_walk(tree, in_two_stages ? top_levels : 0,
                  in_two_stages ? chunk_tokens : block_tokens,
                  [&](Walk<C>& walk, int32_t begin, int32_t n, Scratch& scratch, FetchAhead& ahead) {
                    walk.descend_to(shape_.depth);
                    walk.enter_leaves();
                    add_output(tree, k, walk, begin, n, scratch, ahead);
                  });
  }

  // Calls function(walk, begin, n, scratch, ahead) for walks of at most `most` tokens of order_.
  // Those that follow each other on a thread fetch each other's tokens.
  template <class Function>
  void for_each_walk(const Tree<C>& tree, int64_t level, int64_t most, Function function) {
    const int64_t slice = tokens_per_task(n_, n_threads_, slice_tokens);
    const int64_t token_bytes = shape_.hidden_size * size_of(call_.activations);
    parallel_for(ceil_divide(n_, slice), n_threads_, [&](int64_t i) {
      FetchAhead ahead;
      const int64_t end = std::min<int64_t>((i + 1) * slice, n_);
      for (int64_t begin = i * slice; begin < end; begin += most) {
        const int64_t n = std::min(most, end - begin);
        if (begin == i * slice)
          for (int64_t t = begin; t < begin + n; ++t)
            ahead.push(x_ + order_[t] * token_bytes, token_bytes);
        for (int64_t t = begin + n; t < std::min(begin + n + most, end); ++t)
          ahead.push_for_later(x_ + order_[t] * token_bytes, token_bytes);
        Scratch scratch;
        Walk<C> walk(tree, call_.activations, call_.weights, x_, level, order_ + begin,
                     static_cast<int32_t>(n), node_, z_, scratch, ahead);
        function(walk, static_cast<int32_t>(begin), static_cast<int32_t>(n), scratch, ahead);
      }
    });
  }

  void add_output(const Tree<C>& tree, int64_t k, const Walk<C>& walk, int32_t begin, int32_t n,
                  Scratch& scratch, FetchAhead& ahead) {
    const int64_t n_slots = shape_.n_slots(), slot = shape_.first_slot();
    C* value = scratch.take<C>(n * n_slots);
    for (int32_t i = 0; i < n; ++i) {
      const int32_t t = order_[begin + i];
      const C* z = z_ + t * n_slots;
      std::copy_n(z, n_slots, value + i * n_slots);
      const int64_t at = (first_ + t) * shape_.n_trees + k;
      if (call_.leaf) call_.leaf[at] = node_[t] - shape_.n_nodes();
      if (call_.logits) std::copy_n(z, n_slots, call_.logits + at * n_slots);
    }
    kernels<C>().activate(shape_.activation, n * n_slots, value, value, nullptr);
    const auto sum = kernels<C>().path_sums(call_.weights.out.type, y_type_);
    const void** rows = scratch.take<const void*>(n_slots);
    for (const Group* group = walk.begin(); group != walk.end(); ++group) {
      scale_values(tree, *group, value);
      for (int64_t s = slot; s < n_slots; ++s)
        rows[s - slot] = tree.out.row(tree.slot_row(group->place, s));
      if (group + 1 != walk.end())
        for_new_slots(tree, group[1].place, group->place, slot, [&](int64_t row) {
          ahead.push(tree.out.row(row), tree.out.row_bytes);
        });
      sum({rows, n_slots - slot, shape_.output_size, value + group->begin * n_slots + slot, n_slots,
           order_ + begin + group->begin, group->end - group->begin, y_, k > 0, stream_},
          ahead);
    }
  }

  // Values times the scales of the output rows.
  void scale_values(const Tree<C>& tree, const Group& group, C* value) const {
    if (!tree.out.scale) return;
    const int64_t n_slots = shape_.n_slots();
    for (int64_t s = shape_.first_slot(); s < n_slots; ++s) {
      const C scale = tree.out.scale[tree.slot_row(group.place, s)];
      for (int32_t i = group.begin; i < group.end; ++i) value[i * n_slots + s] *= scale;
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
  bool stream_;
};

template <class C>
void forward_as(const Call<C>& call) {
  const int n_threads = useful_threads(call.shape);
  const int64_t size = tokens_per_pass(call.shape, call.weights);
  const int64_t n_passes = ceil_divide(call.shape.n_tokens, size);
  parallel_for(n_passes, n_threads, [&](int64_t i) {
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
