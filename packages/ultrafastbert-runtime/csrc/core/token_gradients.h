// The part of backward that is separate for each token: the gradients of logits and of x.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backward_call.h"
#include "blocks.h"
#include "kernels.h"
#include "layer.h"
#include "parallel.h"
#include "scratch.h"

namespace fff {

// The gradients of logits and of x, for tokens first..first + n - 1.
template <class C>
class TokenGradients {
 public:
  TokenGradients(const BackwardCall<C>& call, SortedTokens& sorting, SlotValues<C>& slots,
                 int64_t first, int64_t n, int n_threads)
      : call_(call),
        shape_(call.shape),
        sorting_(sorting),
        slots_(slots),
        first_(first),
        n_(n),
        n_threads_(n_threads),
        grad_y_(call.grad_y + first * shape_.output_size * size_of(call.activations)),
        grad_x_(call.grad_x),
        x_type_(call.activations) {
    if (!grad_x_) return;
    grad_x_ += first * shape_.hidden_size * size_of(x_type_);
    if (x_type_ == Type::bfloat16 && shape_.n_trees > 1) {
      grad_x_ = reinterpret_cast<char*>(scratch_.take<C>(n * shape_.hidden_size));
      x_type_ = Type::float32;
    }
    stream_ = shape_.n_trees == 1 && can_stream(grad_x_, x_type_, n, shape_.hidden_size);
  }

  // For each tree, calls then(k, begin, n) when the slots of sorted tokens begin..begin + n - 1 are
  // done.
  template <class Function>
  void run(Function then) {
    for (int64_t k = 0; k < shape_.n_trees; ++k) {
      sorting_.sort(shape_, call_.leaf, k, first_, n_);
      const Tree<C> tree(shape_, call_.weights, k);
      parallel_for(ceil_divide(n_, segment_tokens), n_threads_, shape_.executor, [&](int64_t i) {
        const int64_t end = std::min((i + 1) * segment_tokens, n_);
        Prefetcher prefetcher;
        for (int64_t begin = i * segment_tokens; begin < end; begin += gradient_tokens) {
          const int64_t n = std::min(gradient_tokens, end - begin);
          // What comes after this chunk's gradients of x.
          prefetch_tokens(k, call_.x, shape_.hidden_size, begin, begin + n, prefetcher);
          prefetch_tokens(k, call_.grad_y, shape_.output_size, begin + n,
                          std::min(begin + n + gradient_tokens, end), prefetcher);
          run_chunk(tree, k, begin, n, prefetcher);
          then(k, begin, n);
        }
      });
    }
    if (!grad_x_ || x_type_ == call_.activations) return;
    kernels<C>().to_bfloat16(
        n_ * shape_.hidden_size, reinterpret_cast<const C*>(grad_x_),
        reinterpret_cast<bfloat16*>(call_.grad_x) + first_ * shape_.hidden_size);
  }

 private:
  void prefetch_tokens(int64_t k, const char* rows, int64_t n_columns, int64_t begin, int64_t end,
                       Prefetcher& prefetcher) const {
    const int64_t bytes = n_columns * size_of(call_.activations);
    const int32_t* token = sorting_.token.get() + k * shape_.n_tokens + first_;
    for (int64_t i = begin; i < end; ++i)
      prefetcher.push_for_later(rows + (first_ + token[i]) * bytes, bytes);
  }

  // Tokens begin..begin + n - 1 in sorted order.
  void run_chunk(const Tree<C>& tree, int64_t k, int64_t begin, int64_t n, Prefetcher& prefetcher) {
    Scratch scratch;
    const int64_t n_slots = shape_.n_slots();
    const int64_t at = k * shape_.n_tokens + first_;
    const int32_t* token = sorting_.token.get() + at + begin;
    const int32_t* leaf = sorting_.leaf.get() + at + begin;
    C *z = scratch.take<C>(n * n_slots), *value = scratch.take<C>(n * n_slots),
      *slope = scratch.take<C>(n * n_slots), *dz = scratch.take<C>(n * n_slots);
    for (int64_t i = 0; i < n; ++i)
      std::copy_n(call_.logits + ((first_ + token[i]) * shape_.n_trees + k) * n_slots, n_slots,
                  z + i * n_slots);
    kernels<C>().activate(shape_.activation, n * n_slots, z, value, slope);
    if (call_.needs_dz()) differentiate(tree, k, token, leaf, n, slope, dz, scratch, prefetcher);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = (at + token[i]) * n_slots;
      std::copy_n(value + i * n_slots, n_slots, slots_.value.get() + to);
      if (call_.needs_dz()) std::copy_n(dz + i * n_slots, n_slots, slots_.dz.get() + to);
    }
  }

  void differentiate(const Tree<C>& tree, int64_t k, const int32_t* token, const int32_t* leaf,
                     int64_t n, const C* slope, C* dz, Scratch& scratch, Prefetcher& prefetcher) {
    const int64_t n_slots = shape_.n_slots(), slot = shape_.first_slot();
    const auto multiply = kernels<C>().dots(call_.activations, call_.weights.out.type);
    const auto sum = kernels<C>().path_sums(call_.weights.leaves.type, x_type_);
    const auto place = [&](int64_t i) { return leaf[i] + shape_.n_nodes(); };
    const PathRows out(
        tree, n, place, [&](int64_t r) { return tree.out.row(r); },
        [&](int64_t) { return tree.out.row_bytes; }, scratch);
    const PathRows in(
        tree, n, place, [&](int64_t r) { return tree.in_row(r); },
        [&](int64_t r) { return tree.in_row_bytes(r); }, scratch);
    for (int64_t i = 0; i < n; i += batch_tokens) {
      const int64_t end = std::min(i + batch_tokens, n), n_tokens = end - i;
      if (grad_x_) in.prefetch(i, end, prefetcher);
      C* batch_dz = dz + i * n_slots + slot;
      multiply({grad_y_, shape_.output_size, token + i, n_tokens, out.of(i), out.n_rows(),
                out.n_rows(), batch_dz, n_slots},
               prefetcher);
      const C* batch_slope = slope + i * n_slots + slot;
      for (int64_t t = 0; t < n_tokens; ++t)
        for (int64_t r = 0; r < out.n_rows(); ++r)
          batch_dz[t * n_slots + r] *= batch_slope[t * n_slots + r];
      out.prefetch(end, std::min(end + batch_tokens, n), prefetcher);
      if (grad_x_)
        sum({in.of(i), in.n_rows(), shape_.hidden_size, batch_dz, n_slots, token + i, n_tokens,
             grad_x_, k > 0, stream_},
            prefetcher);
    }
  }

  Scratch scratch_;
  const BackwardCall<C>& call_;
  const Shape& shape_;
  SortedTokens& sorting_;
  SlotValues<C>& slots_;
  int64_t first_, n_;
  int n_threads_;
  const char* grad_y_;
  char* grad_x_;
  Type x_type_;
  bool stream_ = false;
};

}  // namespace fff
