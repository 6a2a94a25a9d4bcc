// Forward and backward: how tokens are cut into blocks, sorted and shared among threads. Inner
// loops are in kernels_impl.h.
#include "fff.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "kernels.h"
#include "parallel.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fff {
namespace {

// A thread is worth waking for this many multiply-adds (some 20 us of work).
constexpr double work_per_thread = 1 << 18;
// Tokens computed together. All of them, so that tokens which share a leaf meet and each weight is
// fetched once; but few if there are several small trees: then rows of x and y stay in the
// second-level cache from tree to tree, and so do the trees.
constexpr int64_t small_block = 128, rows_of_small_tree = 512;
// Bounds of the tokens that one task takes from a block.
constexpr int64_t least_slice = 16, largest_slice = 512;
// Levels routed before tokens are first sorted: this top of the tree fits the second-level cache.
constexpr int64_t top_levels = 6;
// Leaves told apart when a block is sorted: more would cost more than they bring tokens together.
constexpr int64_t sort_bits = 11;
// Gradients of more bytes than this are written around the cache, which they would not fit.
constexpr int64_t streamed_bytes = int64_t{4} << 20;
// Rows set to zero by one task.
constexpr int64_t rows_per_task = 256;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

int useful_threads(const Shape& shape, int64_t extra_work = 0) {
  const double products = static_cast<double>(shape.n_tokens) * shape.n_trees * shape.n_slots();
  const double work = products * (shape.hidden_size + shape.output_size) + extra_work;
  return static_cast<int>(std::max(1.0, std::min<double>(shape.n_threads, work / work_per_thread)));
}

int64_t tokens_per_block(const Shape& shape, int n_threads) {
  if (shape.n_trees == 1 || shape.n_rows() > rows_of_small_tree)
    return std::max<int64_t>(shape.n_tokens, 1);
  return std::clamp(ceil_divide(shape.n_tokens, 4 * int64_t{n_threads}), least_slice, small_block);
}

// Some tokens on their way through one tree after the other. The n_threads threads share the work
// on each step.
struct Block {
  int64_t begin;
  int64_t n;
  int n_threads;
  std::vector<int64_t> order, sorted, node, start;

  Block(int64_t first, int64_t size, int threads)
      : begin(first), n(size), n_threads(threads), order(n), sorted(n), node(n) {}

  void enter_tree() {
    std::iota(order.begin(), order.end(), int64_t{0});
    std::fill(node.begin(), node.end(), int64_t{0});
  }

  // Stable counting sort by node, all of them on `level`; places that share the leading bits count
  // as one.
  void sort(int64_t level) {
    const int64_t bits = std::min(level, sort_bits), shift = level - bits,
                  first = (int64_t{1} << level) - 1;
    if (n == 1 || level == 0) return;
    start.assign((int64_t{1} << bits) + 1, 0);
    for (int64_t t : order) ++start[((node[t] - first) >> shift) + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    for (int64_t t : order) sorted[start[(node[t] - first) >> shift]++] = t;
    order.swap(sorted);
  }

  // Calls function(first, n) for slices of the block.
  template <class Function>
  void for_each_slice(Function function) const {
    const int64_t size =
        std::clamp(ceil_divide(n, 4 * int64_t{n_threads}), least_slice, largest_slice);
    parallel_for(ceil_divide(n, size), n_threads,
                 [&](int64_t i) { function(i * size, std::min(size, n - i * size)); });
  }
};

template <class Function>
void for_each_block(const Shape& shape, int n_threads, Function function) {
  const int64_t size = tokens_per_block(shape, n_threads),
                n_blocks = ceil_divide(shape.n_tokens, size);
  parallel_for(n_blocks, n_threads, [&](int64_t i) {
    Block block(i * size, std::min(size, shape.n_tokens - i * size), n_blocks > 1 ? 1 : n_threads);
    function(block);
  });
}

template <class T>
void route_block(const Shape& shape, Block& block, const T* x, const T* w_in, const T* b_in,
                 T* logits) {
  const auto route_steps = [&](int64_t first, int64_t last) {
    block.for_each_slice([&](int64_t i, int64_t n) {
      kernels<T>().route({&shape, x, w_in, b_in, first, last, block.node.data(), logits},
                         {block.order.data() + i, n});
    });
  };
  const int64_t top = block.n > 1 && shape.depth > top_levels ? top_levels : 0;
  block.enter_tree();
  if (top > 0) route_steps(0, top);
  block.sort(top);
  route_steps(top, shape.depth + 1);
  block.sort(shape.depth);
}

template <class T>
void forward_block(const Shape& shape, Block& block, const T* x, const T* w_in, const T* b_in,
                   const T* w_out, T* y, int64_t* leaf, T* logits) {
  const int64_t n_rows = shape.n_rows(), n_slots = shape.n_slots(), n_trees = shape.n_trees;
  std::vector<T> z(block.n * n_slots), value(block.n * n_slots);
  for (int64_t k = 0; k < n_trees; ++k) {
    route_block(shape, block, x + block.begin * shape.hidden_size,
                w_in + k * n_rows * shape.hidden_size, b_in + k * n_rows, z.data());
    block.for_each_slice([&](int64_t first, int64_t n) {
      kernels<T>().activate(shape.activation, n * n_slots, z.data() + first * n_slots,
                            value.data() + first * n_slots, nullptr);
      for (int64_t t = first; t < first + n; ++t) {
        const int64_t i = (block.begin + t) * n_trees + k;
        leaf[i] = block.node[t] - shape.n_nodes();
        std::copy_n(z.data() + t * n_slots, n_slots, logits + i * n_slots);
      }
    });
    const PathProduct<T> product{&shape, w_out + k * n_rows * shape.output_size, shape.output_size,
                                 block.node.data()};
    block.for_each_slice([&](int64_t i, int64_t n) {
      kernels<T>().path_sums(product, {block.order.data() + i, n}, value.data(), k > 0,
                             y + block.begin * shape.output_size);
    });
  }
}

// Per tree and token and slot, (K, T, S): act(z) and the gradient of z.
template <class T>
struct SlotValues {
  std::vector<T> value, dz;
};

// The part of backward that is separate for each token: the gradients of logits and of x.
template <class T>
void backward_block(const Shape& shape, Block& block, const T* grad_y, const T* w_in,
                    const T* w_out, const int64_t* leaf, const T* logits, bool needs_dz,
                    SlotValues<T>& slots, T* grad_x) {
  const int64_t n_rows = shape.n_rows(), n_slots = shape.n_slots(), n_trees = shape.n_trees;
  std::vector<T> z(block.n * n_slots), slope(block.n * n_slots);
  for (int64_t k = 0; k < n_trees; ++k) {
    const int64_t offset = (k * shape.n_tokens + block.begin) * n_slots;
    block.enter_tree();
    block.for_each_slice([&](int64_t first, int64_t n) {
      for (int64_t t = first; t < first + n; ++t) {
        const int64_t i = (block.begin + t) * n_trees + k;
        block.node[t] = leaf[i] + shape.n_nodes();
        std::copy_n(logits + i * n_slots, n_slots, z.data() + t * n_slots);
      }
      const int64_t from = first * n_slots;
      kernels<T>().activate(shape.activation, n * n_slots, z.data() + from,
                            slots.value.data() + offset + from, slope.data() + from);
    });
    if (!needs_dz) continue;
    block.sort(shape.depth);
    T* dz = slots.dz.data() + offset;
    const PathProduct<T> out{&shape, w_out + k * n_rows * shape.output_size, shape.output_size,
                             block.node.data()};
    const PathProduct<T> in{&shape, w_in + k * n_rows * shape.hidden_size, shape.hidden_size,
                            block.node.data()};
    block.for_each_slice([&](int64_t first, int64_t n) {
      const Tokens tokens{block.order.data() + first, n};
      kernels<T>().path_dots(out, tokens, grad_y + block.begin * shape.output_size, dz);
      for (int64_t i = first; i < first + n; ++i) {
        const int64_t from = block.order[i] * n_slots;
        for (int64_t s = from + shape.first_slot(); s < from + n_slots; ++s) dz[s] *= slope[s];
      }
      if (grad_x)
        kernels<T>().path_sums(in, tokens, dz, k > 0, grad_x + block.begin * shape.hidden_size);
    });
  }
}

// All tokens of each tree sorted by leaf; leaf j holds places start[j]..start[j + 1] - 1.
struct Sorting {
  std::vector<int64_t> token, leaf, start;  // (K, T), (K, T), (K, 2^D + 1)

  explicit Sorting(const Shape& shape)
      : token(shape.n_trees * shape.n_tokens),
        leaf(shape.n_trees * shape.n_tokens),
        start(shape.n_trees * (shape.n_leaves() + 1)) {}

  void sort_tree(const Shape& shape, int64_t k, const int64_t* leaves) {
    int64_t* first = start.data() + k * (shape.n_leaves() + 1);
    for (int64_t t = 0; t < shape.n_tokens; ++t) ++first[leaves[t * shape.n_trees + k] + 1];
    std::partial_sum(first, first + shape.n_leaves() + 1, first);
    std::vector<int64_t> next(first, first + shape.n_leaves());
    for (int64_t t = 0; t < shape.n_tokens; ++t) {
      const int64_t j = leaves[t * shape.n_trees + k];
      token[k * shape.n_tokens + next[j]] = t;
      leaf[k * shape.n_tokens + next[j]++] = j;
    }
  }

  // Whether a row gets a gradient.
  bool visited(const Shape& shape, int64_t k, int64_t row) const {
    const int64_t* first = start.data() + k * (shape.n_leaves() + 1);
    if (row >= shape.n_nodes()) {
      const int64_t j = (row - shape.n_nodes()) / shape.leaf_size;
      return first[j] < first[j + 1];
    }
    int64_t level = 0;
    while (((row + 1) >> level) > 1) ++level;
    const int64_t place = row + 1 - (int64_t{1} << level), shift = shape.depth - level;
    return shape.node_output && first[place << shift] < first[(place + 1) << shift];
  }
};

template <class T>
void zero_unvisited(const Shape& shape, const Sorting& sorting, int64_t k, int64_t first_row,
                    const Gradients<T>& gradients) {
  const int64_t n_rows = shape.n_rows(), last = std::min(first_row + rows_per_task, n_rows);
  for (int64_t r = first_row; r < last; ++r) {
    if (sorting.visited(shape, k, r)) continue;
    const int64_t i = k * n_rows + r;
    if (gradients.w_in)
      std::fill_n(gradients.w_in + i * shape.hidden_size, shape.hidden_size, T(0));
    if (gradients.w_out)
      std::fill_n(gradients.w_out + i * shape.output_size, shape.output_size, T(0));
  }
}

// The gradient of one tree's biases: sums in double, in sorted order.
template <class T>
void bias_gradient(const Shape& shape, const Sorting& sorting, int64_t k, const T* dz, T* grad_b) {
  const int64_t n_rows = shape.n_rows(), n_tokens = shape.n_tokens;
  const int64_t* token = sorting.token.data() + k * n_tokens;
  const int64_t* leaf = sorting.leaf.data() + k * n_tokens;
  std::vector<double> sums(n_rows, 0.0);
  for (int64_t i = 0; i < n_tokens; ++i) {
    const T* from = dz + (k * n_tokens + token[i]) * shape.n_slots();
    for (int64_t l = shape.first_slot(); l < shape.depth; ++l)
      sums[((leaf[i] + shape.n_leaves()) >> (shape.depth - l)) - 1] += from[l];
    double* leaf_sums = sums.data() + shape.n_nodes() + leaf[i] * shape.leaf_size;
    for (int64_t r = 0; r < shape.leaf_size; ++r) leaf_sums[r] += from[shape.depth + r];
  }
  std::transform(sums.begin(), sums.end(), grad_b + k * n_rows,
                 [](double s) { return static_cast<T>(s); });
}

// Asks for large pages under a gradient, whose memory is as a rule fresh: else the first touch of
// each 4 KB is a fault, and these take longer than the sums.
template <class T>
void advise_large_pages(T* gradient, int64_t n) {
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(gradient) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(gradient + n) / page * page;
  if (gradient && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)gradient, (void)n;
#endif
}

template <class T>
void weight_gradients(const Shape& shape, int n_threads, const T* grad_y, const T* x,
                      const int64_t* leaf, const SlotValues<T>& slots,
                      const Gradients<T>& gradients) {
  Sorting sorting(shape);
  parallel_for(shape.n_trees, n_threads, [&](int64_t k) { sorting.sort_tree(shape, k, leaf); });

  const int64_t n_rows = shape.n_rows(), n_slots = shape.n_slots(),
                columns = kernels<T>().column_block;
  advise_large_pages(gradients.w_in, shape.n_trees * n_rows * shape.hidden_size);
  advise_large_pages(gradients.w_out, shape.n_trees * n_rows * shape.output_size);
  const int64_t in_blocks = gradients.w_in ? ceil_divide(shape.hidden_size, columns) : 0;
  const int64_t out_blocks = gradients.w_out ? ceil_divide(shape.output_size, columns) : 0;
  const int64_t zero_blocks = ceil_divide(n_rows, rows_per_task),
                bias_blocks = gradients.b_in ? 1 : 0;
  const int64_t tasks_per_tree = in_blocks + out_blocks + zero_blocks + bias_blocks;
  parallel_for(shape.n_trees * tasks_per_tree, n_threads, [&](int64_t task) {
    const int64_t k = task / tasks_per_tree, offset = k * shape.n_tokens;
    const auto sum_rows = [&](const std::vector<T>& coefficient, const T* source, int64_t c,
                              int64_t block, T* sums) {
      const bool stream = n_rows * c * static_cast<int64_t>(sizeof(T)) > streamed_bytes;
      kernels<T>().row_sums({&shape, sorting.token.data() + offset, sorting.leaf.data() + offset,
                             coefficient.data() + offset * n_slots, source, c, block * columns,
                             stream, sums + k * n_rows * c});
    };
    int64_t i = task % tasks_per_tree;
    if (i < in_blocks) return sum_rows(slots.dz, x, shape.hidden_size, i, gradients.w_in);
    i -= in_blocks;
    if (i < out_blocks) return sum_rows(slots.value, grad_y, shape.output_size, i, gradients.w_out);
    i -= out_blocks;
    if (i < bias_blocks) return bias_gradient(shape, sorting, k, slots.dz.data(), gradients.b_in);
    i -= bias_blocks;
    zero_unvisited(shape, sorting, k, i * rows_per_task, gradients);
  });
}

void check_leaves(const Shape& shape, const int64_t* leaf) {
  const int64_t n = shape.n_tokens * shape.n_trees;
  for (int64_t i = 0; i < n; ++i) {
    if (leaf[i] < 0 || leaf[i] >= shape.n_leaves())
      throw std::invalid_argument(
          "leaf holds " + std::to_string(leaf[i]) + ", which is not within 0.." +
          std::to_string(shape.n_leaves() - 1) + "; pass what forward returned");
  }
}

void check_size(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    throw std::invalid_argument(std::string(name) + "=" + std::to_string(value) +
                                " must be within " + std::to_string(least) + ".." +
                                std::to_string(most));
}

}  // namespace

void validate(const Shape& shape) {
  constexpr int64_t most = int64_t{1} << 48;
  check_size("n_tokens", shape.n_tokens, 0, most);
  check_size("hidden_size", shape.hidden_size, 1, most);
  check_size("output_size", shape.output_size, 1, most);
  check_size("n_trees", shape.n_trees, 1, most);
  check_size("depth", shape.depth, 0, 30);
  check_size("leaf_size", shape.leaf_size, 1, most >> shape.depth);
  check_size("n_threads", shape.n_threads, 1, 1 << 16);
  const double columns = static_cast<double>(std::max(shape.hidden_size, shape.output_size));
  const double trees = static_cast<double>(shape.n_trees);
  const double largest = std::max({trees * shape.n_rows() * columns, columns * shape.n_tokens,
                                   trees * shape.n_slots() * shape.n_tokens});
  if (largest > static_cast<double>(most))
    throw std::invalid_argument("the sizes exceed the address space; make them smaller");
}

template <class T>
void forward(const Shape& shape, const T* x, const T* w_in, const T* b_in, const T* w_out, T* y,
             int64_t* leaf, T* logits) {
  validate(shape);
  for_each_block(shape, useful_threads(shape), [&](Block& block) {
    forward_block(shape, block, x, w_in, b_in, w_out, y, leaf, logits);
  });
}

template <class T>
void backward(const Shape& shape, const T* grad_y, const T* x, const T* w_in, const T* w_out,
              const int64_t* leaf, const T* logits, const Gradients<T>& gradients) {
  validate(shape);
  check_leaves(shape, leaf);
  const bool needs_dz = gradients.x || gradients.w_in || gradients.b_in;
  const bool needs_weights = gradients.w_in || gradients.b_in || gradients.w_out;
  const int64_t n_weights =
      shape.n_trees * shape.n_rows() * (shape.hidden_size + shape.output_size);
  const int n_threads = useful_threads(shape, needs_weights ? n_weights : 0);
  const int64_t size = shape.n_trees * shape.n_tokens * shape.n_slots();
  SlotValues<T> slots{std::vector<T>(size), std::vector<T>(needs_dz ? size : 0)};
  for_each_block(shape, n_threads, [&](Block& block) {
    backward_block(shape, block, grad_y, w_in, w_out, leaf, logits, needs_dz, slots, gradients.x);
  });
  if (needs_weights) weight_gradients(shape, n_threads, grad_y, x, leaf, slots, gradients);
}

template void forward(const Shape&, const float*, const float*, const float*, const float*, float*,
                      int64_t*, float*);
template void forward(const Shape&, const double*, const double*, const double*, const double*,
                      double*, int64_t*, double*);
template void backward(const Shape&, const float*, const float*, const float*, const float*,
                       const int64_t*, const float*, const Gradients<float>&);
template void backward(const Shape&, const double*, const double*, const double*, const double*,
                       const int64_t*, const double*, const Gradients<double>&);

}  // namespace fff
