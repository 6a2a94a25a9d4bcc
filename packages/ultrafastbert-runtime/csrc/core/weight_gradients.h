// The part of backward that sums over tokens: the gradients of weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "backward_call.h"
#include "blocks.h"
#include "kernels.h"

namespace fff {

// Rows set to zero by one task.
constexpr int64_t rows_per_task = 256;

// Sums over the tokens of one tree, and the rows that get none.
template <class C>
class WeightGradients {
 public:
  WeightGradients(const BackwardCall<C>& call, const SortedTokens& sorting,
                  const SlotValues<C>& slots, int64_t k)
      : call_(call),
        shape_(call.shape),
        k_(k),
        token_(sorting.token.get() + k * shape_.n_tokens),
        leaf_(sorting.leaf.get() + k * shape_.n_tokens),
        value_(slots.value.get() + k * shape_.n_tokens * shape_.n_slots()),
        dz_(slots.dz ? slots.dz.get() + k * shape_.n_tokens * shape_.n_slots() : nullptr) {
    const int64_t n = n_segments() * shape_.n_slots();
    if (call.grad_w_in) shared_in_.reset(new C[n * shape_.hidden_size]);
    if (call.grad_w_out) shared_out_.reset(new C[n * shape_.output_size]);
  }

  int64_t n_segments() const { return ceil_divide(shape_.n_tokens, segment_tokens); }

  // Adds n sorted tokens from `begin` on, all of one segment, the next ones of it.
  void add(int64_t begin, int64_t n) const {
    if (call_.grad_w_in)
      add_to(call_.grad_w_in, shared_in_.get(), dz_, call_.x, shape_.hidden_size, begin, n);
    if (call_.grad_w_out)
      add_to(call_.grad_w_out, shared_out_.get(), value_, call_.grad_y, shape_.output_size, begin,
             n);
  }

  // What is left when all segments are added.
  int64_t n_tasks() const { return 3 + ceil_divide(shape_.n_rows(), rows_per_task); }

  void run(int64_t task) const {
    if (task == 0) return add_shared(call_.grad_w_in, shared_in_.get(), shape_.hidden_size);
    if (task == 1) return add_shared(call_.grad_w_out, shared_out_.get(), shape_.output_size);
    if (task == 2) return sum_biases();
    zero_unvisited((task - 3) * rows_per_task);
  }

 private:
  // Levels on which the first token of a segment shares its node with the token before.
  int64_t n_shared(int64_t segment) const {
    if (segment == 0) return 0;
    const int32_t* first = leaf_ + segment * segment_tokens;
    int64_t level = 0;
    while (level <= shape_.depth &&
           first[0] >> (shape_.depth - level) == first[-1] >> (shape_.depth - level))
      ++level;
    return level;
  }

  void add_to(C* sums, C* shared, const C* coefficient, const void* source, int64_t n_columns,
              int64_t begin, int64_t n) const {
    const int64_t segment = begin / segment_tokens, n_rows = shape_.n_rows();
    const bool stream = n_rows * n_columns * static_cast<int64_t>(sizeof(C)) > streamed_bytes;
    kernels<C>().row_sums(call_.activations)(
        {&shape_, token_, leaf_, segment * segment_tokens, begin, begin + n, coefficient, source,
         n_columns, stream, sums + k_ * n_rows * n_columns, n_shared(segment),
         shared + segment * shape_.n_slots() * n_columns});
  }

  // Adds to the rows that several segments share, in double: there may be many segments.
  void add_shared(C* sums, const C* shared, int64_t n_columns) const {
    if (!sums) return;
    const int64_t n_slots = shape_.n_slots();
    std::vector<double> total(n_columns);
    for (int64_t slot = shape_.first_slot(); slot < n_slots; ++slot) {
      const int64_t level = std::min(slot, shape_.depth);
      for (int64_t segment = 1, end; segment < n_segments(); segment = end) {
        end = segment + 1;
        if (level >= n_shared(segment)) continue;
        const int64_t r = row_of(slot, segment);
        while (end < n_segments() && level < n_shared(end) && row_of(slot, end) == r) ++end;
        C* row = sums + (k_ * shape_.n_rows() + r) * n_columns;
        std::copy_n(row, n_columns, total.begin());
        for (int64_t s = segment; s < end; ++s) {
          const C* from = shared + (s * n_slots + slot) * n_columns;
          for (int64_t c = 0; c < n_columns; ++c) total[c] += from[c];
        }
        std::transform(total.begin(), total.end(), row, [](double t) { return static_cast<C>(t); });
      }
    }
  }

  // The row in a slot of a segment's first token.
  int64_t row_of(int64_t slot, int64_t segment) const {
    const int64_t level = std::min(slot, shape_.depth);
    const int64_t place = leaf_[segment * segment_tokens] >> (shape_.depth - level);
    return level < shape_.depth ? (int64_t{1} << level) - 1 + place
                                : shape_.n_nodes() + place * shape_.leaf_size + slot - shape_.depth;
  }

  // In double, in sorted order.
  void sum_biases() const {
    const int64_t n_rows = shape_.n_rows();
    if (!call_.grad_b_in) return;
    std::vector<double> sums(n_rows, 0.0);
    for (int64_t i = 0; i < shape_.n_tokens; ++i) {
      const C* from = dz_ + token_[i] * shape_.n_slots();
      for (int64_t l = shape_.first_slot(); l < shape_.depth; ++l)
        sums[((leaf_[i] + shape_.n_leaves()) >> (shape_.depth - l)) - 1] += from[l];
      double* leaf_sums = sums.data() + shape_.n_nodes() + leaf_[i] * shape_.leaf_size;
      for (int64_t r = 0; r < shape_.leaf_size; ++r) leaf_sums[r] += from[shape_.depth + r];
    }
    std::transform(sums.begin(), sums.end(), call_.grad_b_in + k_ * n_rows,
                   [](double s) { return static_cast<C>(s); });
  }

  // Whether a token reached one of the leaves first..last - 1.
  bool reached(int64_t first, int64_t last) const {
    const int32_t* end = leaf_ + shape_.n_tokens;
    const int32_t* found = std::lower_bound(leaf_, end, static_cast<int32_t>(first));
    return found != end && *found < last;
  }

  // Whether a row gets a gradient.
  bool visited(int64_t row) const {
    if (row >= shape_.n_nodes()) {
      const int64_t j = (row - shape_.n_nodes()) / shape_.leaf_size;
      return reached(j, j + 1);
    }
    int64_t level = 0;
    while (((row + 1) >> level) > 1) ++level;
    const int64_t place = row + 1 - (int64_t{1} << level), shift = shape_.depth - level;
    return shape_.node_output && reached(place << shift, (place + 1) << shift);
  }

  void zero_unvisited(int64_t first) const {
    const int64_t n_rows = shape_.n_rows(), last = std::min(first + rows_per_task, n_rows);
    for (int64_t r = first; r < last; ++r) {
      if (visited(r)) continue;
      const int64_t i = k_ * n_rows + r;
      if (call_.grad_w_in)
        std::fill_n(call_.grad_w_in + i * shape_.hidden_size, shape_.hidden_size, C(0));
      if (call_.grad_w_out)
        std::fill_n(call_.grad_w_out + i * shape_.output_size, shape_.output_size, C(0));
    }
  }

  const BackwardCall<C>& call_;
  const Shape& shape_;
  int64_t k_;
  const int32_t *token_, *leaf_;
  const C *value_, *dz_;
  std::unique_ptr<C[]> shared_in_, shared_out_;  // (segments, S, columns)
};

}  // namespace fff
