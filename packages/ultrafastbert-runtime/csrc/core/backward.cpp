// Backward: tokens sorted by leaf give each row one contiguous interval of tokens, so that sums
// over tokens have one order, whatever the number of threads.
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "backward_call.h"
#include "blocks.h"
#include "fff.h"
#include "huge_pages.h"
#include "layer.h"
#include "parallel.h"
#include "token_gradients.h"
#include "weight_gradients.h"

namespace fff {
namespace {

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
void backward_as(const BackwardCall<C>& call) {
  const Shape& shape = call.shape;
  const bool needs_weights = call.grad_w_in || call.grad_b_in || call.grad_w_out;
  const int64_t n_rows = shape.n_trees * shape.n_rows();
  const double n_weights = static_cast<double>(n_rows) * (shape.hidden_size + shape.output_size);
  const int n_threads = useful_threads(shape, needs_weights ? n_weights : 0);
  const int64_t n_values = shape.n_trees * shape.n_tokens * shape.n_slots();
  SortedTokens sorting(shape.n_trees * shape.n_tokens);
  SlotValues<C> slots{std::unique_ptr<C[]>(new C[n_values]),
                      std::unique_ptr<C[]>(call.needs_dz() ? new C[n_values] : nullptr)};
  const int64_t size = tokens_per_pass(shape, call.weights, n_threads);
  const int64_t n_passes = ceil_divide(shape.n_tokens, size);
  // Gradients are as a rule fresh memory, of which each first touch of a page is a fault.
  const int64_t x_bytes = shape.n_tokens * shape.hidden_size * size_of(call.activations);
  if (x_bytes > streamed_bytes) use_huge_pages(call.grad_x, x_bytes);
  use_huge_pages(call.grad_w_in, n_rows * shape.hidden_size * sizeof(C));
  use_huge_pages(call.grad_w_out, n_rows * shape.output_size * sizeof(C));
  std::vector<WeightGradients<C>> trees;
  for (int64_t k = 0; needs_weights && k < shape.n_trees; ++k)
    trees.emplace_back(call, sorting, slots, k);
  // Where all tokens are sorted together, their rows of x and grad_y are still in the cache.
  const bool at_once = needs_weights && n_passes == 1;
  parallel_for(n_passes, n_threads, shape.executor, [&](int64_t i) {
    TokenGradients<C>(call, sorting, slots, i * size, std::min(size, shape.n_tokens - i * size),
                      n_passes > 1 ? 1 : n_threads)
        .run([&](int64_t k, int64_t begin, int64_t n) {
          if (at_once) trees[k].add(begin, n);
        });
  });
  if (!needs_weights) return;
  if (!at_once) {
    parallel_for(shape.n_trees, n_threads, shape.executor,
                 [&](int64_t k) { sorting.sort(shape, call.leaf, k, 0, shape.n_tokens); });
    const int64_t n_segments = trees[0].n_segments();
    parallel_for(shape.n_trees * n_segments, n_threads, shape.executor, [&](int64_t task) {
      const int64_t begin = task % n_segments * segment_tokens;
      trees[task / n_segments].add(begin, std::min(segment_tokens, shape.n_tokens - begin));
    });
  }
  const int64_t n_tasks = trees[0].n_tasks();
  parallel_for(shape.n_trees * n_tasks, n_threads, shape.executor,
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
                         static_cast<double*>(gradients.w_in), static_cast<double*>(gradients.b_in),
                         static_cast<double*>(gradients.w_out)});
  else
    backward_as<float>({shape, activations, weights, from_y, from_x, leaf,
                        static_cast<const float*>(logits), to_x,
                        static_cast<float*>(gradients.w_in), static_cast<float*>(gradients.b_in),
                        static_cast<float*>(gradients.w_out)});
}

}  // namespace fff
