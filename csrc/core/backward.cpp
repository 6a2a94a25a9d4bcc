// Backward: tokens sorted by leaf give each row one contiguous interval of tokens, so that sums
// over tokens have one order, whatever the number of threads.
#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "blocks.h"
#include "fff.h"
#include "kernels.h"
#include "huge_pages.h"
#include "layer.h"
#include "parallel.h"
#include "scratch.h"
#include "sorting.h"

namespace fff {
namespace {

// Rows set to zero by one task.
constexpr int64_t rows_per_task = 256;

// What backward reads and writes.
template <class C>
struct Call {
  const Shape& shape;
  Type activations;
  const Weights& weights;
  const char* grad_y;
  const char* x;
  const int64_t* leaf;
  const C* logits;
  char* grad_x;                    // this and the following: null if not wanted
  C *grad_w_in, *grad_b_in, *grad_w_out;

  bool needs_dz() const { return grad_x || grad_w_in || grad_b_in; }
};

// Per tree, token and slot, (K, T, S): act(z) and the gradient of z.
template <class C>
struct SlotValues {
  std::unique_ptr<C[]> value, dz;
};

// All tokens of each tree sorted by leaf, (K, T).
struct Sorting {
  std::unique_ptr<int32_t[]> token, leaf;

  explicit Sorting(int64_t n) : token(new int32_t[n]), leaf(new int32_t[n]) {}

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

// The part of backward that is separate for each token, the gradients of logits and of x, for
// tokens first..first + n - 1.
template <class C>
class Pass {
 public:
  Pass(const Call<C>& call, Sorting& sorting, SlotValues<C>& slots, int64_t first, int64_t n,
       int n_threads)
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
      parallel_for(ceil_divide(n_, segment_tokens), n_threads_, [&](int64_t i) {
        const int64_t end = std::min((i + 1) * segment_tokens, n_);
        FetchAhead ahead;
        for (int64_t begin = i * segment_tokens; begin < end; begin += gradient_tokens) {
          const int64_t n = std::min(gradient_tokens, end - begin);
          // What comes after this chunk's gradients of x.
          fetch_tokens(k, call_.x, shape_.hidden_size, begin, begin + n, ahead);
          fetch_tokens(k, call_.grad_y, shape_.output_size, begin + n,
                       std::min(begin + n + gradient_tokens, end), ahead);
          run_chunk(tree, k, begin, n, ahead);
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
  void fetch_tokens(int64_t k, const char* rows, int64_t n_columns, int64_t begin, int64_t end,
                    FetchAhead& ahead) const {
    const int64_t bytes = n_columns * size_of(call_.activations);
    const int32_t* token = sorting_.token.get() + k * shape_.n_tokens + first_;
    for (int64_t i = begin; i < end; ++i)
      ahead.push_for_later(rows + (first_ + token[i]) * bytes, bytes);
  }

  // Tokens begin..begin + n - 1 in sorted order.
  void run_chunk(const Tree<C>& tree, int64_t k, int64_t begin, int64_t n, FetchAhead& ahead) {
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
    if (call_.needs_dz()) differentiate(tree, k, token, leaf, n, slope, dz, scratch, ahead);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = (at + token[i]) * n_slots;
      std::copy_n(value + i * n_slots, n_slots, slots_.value.get() + to);
      if (call_.needs_dz()) std::copy_n(dz + i * n_slots, n_slots, slots_.dz.get() + to);
    }
  }

  void differentiate(const Tree<C>& tree, int64_t k, const int32_t* token, const int32_t* leaf,
                     int64_t n, const C* slope, C* dz, Scratch& scratch, FetchAhead& ahead) {
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
      if (grad_x_) in.fetch(i, end, ahead);
      C* batch_dz = dz + i * n_slots + slot;
      multiply({grad_y_, shape_.output_size, token + i, n_tokens, out.of(i), out.n_rows(),
                out.n_rows(), batch_dz, n_slots},
               ahead);
      const C* batch_slope = slope + i * n_slots + slot;
      for (int64_t t = 0; t < n_tokens; ++t)
        for (int64_t r = 0; r < out.n_rows(); ++r)
          batch_dz[t * n_slots + r] *= batch_slope[t * n_slots + r];
      out.fetch(end, std::min(end + batch_tokens, n), ahead);
      if (grad_x_)
        sum({in.of(i), in.n_rows(), shape_.hidden_size, batch_dz, n_slots, token + i, n_tokens,
             grad_x_, k > 0, stream_},
            ahead);
    }
  }

  Scratch scratch_;
  const Call<C>& call_;
  const Shape& shape_;
  Sorting& sorting_;
  SlotValues<C>& slots_;
  int64_t first_, n_;
  int n_threads_;
  const char* grad_y_;
  char* grad_x_;
  Type x_type_;
  bool stream_ = false;
};

// Sums over the tokens of one tree, and the rows that get none.
template <class C>
class TreeGradients {
 public:
  TreeGradients(const Call<C>& call, const Sorting& sorting, const SlotValues<C>& slots, int64_t k)
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
    return level < shape_.depth
               ? (int64_t{1} << level) - 1 + place
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

  const Call<C>& call_;
  const Shape& shape_;
  int64_t k_;
  const int32_t *token_, *leaf_;
  const C *value_, *dz_;
  std::unique_ptr<C[]> shared_in_, shared_out_;  // (segments, S, columns)
};

void check_leaves(const Shape& shape, const int64_t* leaf) {
  const int64_t n = shape.n_tokens * shape.n_trees;
  for (int64_t i = 0; i < n; ++i) {
    if (leaf[i] < 0 || leaf[i] >= shape.n_leaves())
      throw std::invalid_argument(
          "leaf holds " + std::to_string(leaf[i]) + ", which is not within 0.." +
          std::to_string(shape.n_leaves() - 1) + "; pass what forward returned");
  }
}

template <class C>
void backward_as(const Call<C>& call) {
  const Shape& shape = call.shape;
  const bool needs_weights = call.grad_w_in || call.grad_b_in || call.grad_w_out;
  const int64_t n_rows = shape.n_trees * shape.n_rows();
  const double n_weights = static_cast<double>(n_rows) * (shape.hidden_size + shape.output_size);
  const int n_threads = useful_threads(shape, needs_weights ? n_weights : 0);
  const int64_t n_values = shape.n_trees * shape.n_tokens * shape.n_slots();
  Sorting sorting(shape.n_trees * shape.n_tokens);
  SlotValues<C> slots{std::unique_ptr<C[]>(new C[n_values]),
                      std::unique_ptr<C[]>(call.needs_dz() ? new C[n_values] : nullptr)};
  const int64_t size = tokens_per_pass(shape, call.weights, n_threads);
  const int64_t n_passes = ceil_divide(shape.n_tokens, size);
  // Gradients are as a rule fresh memory, of which each first touch of a page is a fault.
  const int64_t x_bytes = shape.n_tokens * shape.hidden_size * size_of(call.activations);
  if (x_bytes > streamed_bytes) use_huge_pages(call.grad_x, x_bytes);
  use_huge_pages(call.grad_w_in, n_rows * shape.hidden_size * sizeof(C));
  use_huge_pages(call.grad_w_out, n_rows * shape.output_size * sizeof(C));
  std::vector<TreeGradients<C>> trees;
  for (int64_t k = 0; needs_weights && k < shape.n_trees; ++k)
    trees.emplace_back(call, sorting, slots, k);
  // Where all tokens are sorted together, their rows of x and grad_y are still in the cache.
  const bool at_once = needs_weights && n_passes == 1;
  parallel_for(n_passes, n_threads, [&](int64_t i) {
    Pass<C>(call, sorting, slots, i * size, std::min(size, shape.n_tokens - i * size),
            n_passes > 1 ? 1 : n_threads)
        .run([&](int64_t k, int64_t begin, int64_t n) {
          if (at_once) trees[k].add(begin, n);
        });
  });
  if (!needs_weights) return;
  if (!at_once) {
    parallel_for(shape.n_trees, n_threads, [&](int64_t k) {
      sorting.sort(shape, call.leaf, k, 0, shape.n_tokens);
    });
    const int64_t n_segments = trees[0].n_segments();
    parallel_for(shape.n_trees * n_segments, n_threads, [&](int64_t task) {
      const int64_t begin = task % n_segments * segment_tokens;
      trees[task / n_segments].add(begin, std::min(segment_tokens, shape.n_tokens - begin));
    });
  }
  const int64_t n_tasks = trees[0].n_tasks();
  parallel_for(shape.n_trees * n_tasks, n_threads,
               [&](int64_t task) { trees[task / n_tasks].run(task % n_tasks); });
}

}  // namespace

void backward(const Shape& shape, Type activations, const Weights& weights, const void* grad_y,
              const void* x, const int64_t* leaf, const void* logits, const Gradients& gradients) {
  const Type type = activations == Type::float64 ? Type::float64 : Type::float32;
  for (const Rows& rows : {weights.nodes, weights.leaves, weights.out})
    if (rows.type != type || rows.scale)
      throw std::invalid_argument("gradients need float32 weights, or float64 activations' own");
  check_leaves(shape, leaf);
  const char *from_y = static_cast<const char*>(grad_y), *from_x = static_cast<const char*>(x);
  char* to_x = static_cast<char*>(gradients.x);
  if (activations == Type::float64)
    backward_as<double>({shape, activations, weights, from_y, from_x, leaf,
                         static_cast<const double*>(logits), to_x,
                         static_cast<double*>(gradients.w_in),
                         static_cast<double*>(gradients.b_in),
                         static_cast<double*>(gradients.w_out)});
  else
    backward_as<float>({shape, activations, weights, from_y, from_x, leaf,
                        static_cast<const float*>(logits), to_x,
                        static_cast<float*>(gradients.w_in), static_cast<float*>(gradients.b_in),
                        static_cast<float*>(gradients.w_out)});
}

}  // namespace fff
