#include "blas_layer.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/kernels.h"

namespace fff {
namespace {

const int one = 1;
const float unit = 1, zero = 0;

// The activation is no BLAS routine; it is the native kernel's, so that it decides no comparison.
void gelu(int64_t n, float* z) { kernels<float>().activate(Activation::gelu, n, z, z, nullptr); }

struct Tree {
  const float* w_in;   // (R, H)
  const float* b_in;   // (R)
  const float* w_out;  // (R, O)
};

int n_nodes(const BlasLayer& layer) { return (1 << layer.depth) - 1; }

int first_row(const BlasLayer& layer, int leaf) { return n_nodes(layer) + leaf * layer.leaf_size; }

Tree tree_of(const BlasLayer& layer, int k) {
  const int64_t row = int64_t{k} * first_row(layer, 1 << layer.depth);
  return {layer.w_in + row * layer.hidden_size, layer.b_in + row,
          layer.w_out + row * layer.output_size};
}

class Level1 {
 public:
  Level1(const BlasRoutines& blas, const BlasLayer& layer)
      : blas(blas), layer(layer), hidden(layer.depth + layer.leaf_size) {}

  int walk(const Tree& tree, const float* x, float* y) {
    int node = 0;
    for (int level = 0; level < layer.depth; ++level) {
      hidden[level] = logit(tree, node, x);
      node = 2 * node + 1 + (hidden[level] > 0);
    }
    const int leaf = node - n_nodes(layer), block = first_row(layer, leaf);
    for (int r = 0; r < layer.leaf_size; ++r) hidden[layer.depth + r] = logit(tree, block + r, x);
    gelu(hidden.size(), hidden.data());
    for (int level = 0; level < layer.depth; ++level)
      add(tree, ((leaf + 1 + n_nodes(layer)) >> (layer.depth - level)) - 1, hidden[level], y);
    for (int r = 0; r < layer.leaf_size; ++r) add(tree, block + r, hidden[layer.depth + r], y);
    return leaf;
  }

 private:
  float logit(const Tree& tree, int row, const float* x) const {
    const float* w = tree.w_in + int64_t{row} * layer.hidden_size;
    return blas.sdot(&layer.hidden_size, w, &one, x, &one) + tree.b_in[row];
  }
  void add(const Tree& tree, int row, float value, float* y) const {
    const float* w = tree.w_out + int64_t{row} * layer.output_size;
    blas.saxpy(&layer.output_size, &value, w, &one, y, &one);
  }

  const BlasRoutines& blas;
  const BlasLayer& layer;
  std::vector<float> hidden;  // (S)
};

// Kept from call to call, as memory that is new costs more than some calls take.
struct Workspace {
  std::vector<int> order;     // (T) tokens, sorted by leaf on the way
  std::vector<float> copies;  // (n, H) of the tokens at hand
  std::vector<float> logits;  // (T, D)
  std::vector<float> hidden;  // of a node's tokens (n), or of a block (n, L)
  std::vector<float> sums;    // (T, O) in the order of `order`
};

// Tokens of one sgemm, so that a wide block's activations stay in a cache.
const int block_tokens = 256;

// One tree, depth first; the tokens that reach a node lie in a range of `order`.
class ByNode : Workspace {
 public:
  ByNode(const BlasRoutines& blas, const BlasLayer& layer, bool blocks_by_sgemm, int n_tokens,
         const float* x, Workspace kept)
      : Workspace(std::move(kept)),
        blas(blas),
        layer(layer),
        blocks_by_sgemm(blocks_by_sgemm),
        x(x) {
    const int64_t n = n_tokens, together = blocks_by_sgemm ? std::min(n_tokens, block_tokens) : 1;
    order.resize(n);
    logits.resize(n * layer.depth);
    hidden.resize(std::max(n, together * layer.leaf_size));
    if (layer.depth) copies.resize(n * layer.hidden_size);
  }

  Workspace release() { return std::move(*this); }

  void run(const Tree& of, float* y, int64_t* leaf_of, int stride) {
    tree = &of;
    leaves = leaf_of;
    leaf_stride = stride;
    std::iota(order.begin(), order.end(), 0);
    if (!layer.depth) return visit(0, 0, 0, order.size(), y);
    const int64_t n_out = layer.output_size;
    sums.assign(order.size() * n_out, 0.0f);
    visit(0, 0, 0, order.size(), sums.data());
    for (size_t i = 0; i < order.size(); ++i)
      for (int64_t o = 0; o < n_out; ++o) y[order[i] * n_out + o] += sums[i * n_out + o];
  }

 private:
  // Adds what the tokens of a range get at and below a node to their sums, in the range's order.
  void visit(int node, int level, int begin, int end, float* out) {
    if (begin == end) return;
    if (level == layer.depth) return visit_leaf(node - n_nodes(layer), begin, end, out);
    sgemv_tokens(node, tokens(begin, end), end - begin);
    for (int i = begin; i < end; ++i)
      logits[int64_t{order[i]} * layer.depth + level] = hidden[i - begin];
    const auto right = std::stable_partition(
        order.begin() + begin, order.begin() + end,
        [&](int t) { return !(logits[int64_t{t} * layer.depth + level] > 0); });
    const int middle = right - order.begin();
    visit(2 * node + 1, level + 1, begin, middle, out);
    visit(2 * node + 2, level + 1, middle, end, out);
    for (int i = begin; i < end; ++i)
      hidden[i - begin] = logits[int64_t{order[i]} * layer.depth + level];
    sger_tokens(node, begin, end, out);
  }

  void visit_leaf(int leaf, int begin, int end, float* out) {
    for (int i = begin; i < end; ++i) leaves[int64_t{order[i]} * leaf_stride] = leaf;
    const int row = first_row(layer, leaf), n = end - begin;
    const float* source = tokens(begin, end);
    if (layer.leaf_size == 1) {
      sgemv_tokens(row, source, n);
      sger_tokens(row, begin, end, out);
      return;
    }
    const int step = blocks_by_sgemm ? block_tokens : 1;
    for (int i = 0; i < n; i += step) {
      const float* from = source + int64_t{i} * layer.hidden_size;
      float* to = out + int64_t{begin + i} * layer.output_size;
      if (blocks_by_sgemm)
        sgemm_block(row, from, std::min(step, n - i), to);
      else
        sgemv_block(row, from, to);
    }
  }

  // The tokens of a range side by side, (n, H): copied, unless they lie so.
  const float* tokens(int begin, int end) {
    const int64_t n_in = layer.hidden_size;
    if (end - begin == 1 || end - begin == static_cast<int>(order.size()))
      if (std::is_sorted(order.begin() + begin, order.begin() + end))
        return x + order[begin] * n_in;
    for (int i = begin; i < end; ++i)
      std::copy_n(x + order[i] * n_in, n_in, copies.data() + (i - begin) * n_in);
    return copies.data();
  }

  // hidden (n) = source (n, H) times a row
  void sgemv_tokens(int row, const float* source, int n) {
    const float* w = tree->w_in + int64_t{row} * layer.hidden_size;
    blas.sgemv("T", &layer.hidden_size, &n, &unit, source, &layer.hidden_size, w, &one, &zero,
               hidden.data(), &one);
    for (int i = 0; i < n; ++i) hidden[i] += tree->b_in[row];
  }

  // out (n, O) += gelu(hidden) (n) times a row
  void sger_tokens(int row, int begin, int end, float* out) {
    const int n = end - begin;
    gelu(n, hidden.data());
    const float* w = tree->w_out + int64_t{row} * layer.output_size;
    blas.sger(&layer.output_size, &n, &unit, w, &one, hidden.data(), &one,
              out + int64_t{begin} * layer.output_size, &layer.output_size);
  }

  void sgemv_block(int row, const float* source, float* out) {
    const float* w_in = tree->w_in + int64_t{row} * layer.hidden_size;
    const float* w_out = tree->w_out + int64_t{row} * layer.output_size;
    std::copy_n(tree->b_in + row, layer.leaf_size, hidden.data());
    blas.sgemv("T", &layer.hidden_size, &layer.leaf_size, &unit, w_in, &layer.hidden_size, source,
               &one, &unit, hidden.data(), &one);
    gelu(layer.leaf_size, hidden.data());
    blas.sgemv("N", &layer.output_size, &layer.leaf_size, &unit, w_out, &layer.output_size,
               hidden.data(), &one, &unit, out, &one);
  }

  void sgemm_block(int row, const float* source, int n, float* out) {
    const float* w_in = tree->w_in + int64_t{row} * layer.hidden_size;
    const float* w_out = tree->w_out + int64_t{row} * layer.output_size;
    for (int i = 0; i < n; ++i)
      std::copy_n(tree->b_in + row, layer.leaf_size, hidden.data() + int64_t{i} * layer.leaf_size);
    blas.sgemm("T", "N", &layer.leaf_size, &n, &layer.hidden_size, &unit, w_in, &layer.hidden_size,
               source, &layer.hidden_size, &unit, hidden.data(), &layer.leaf_size);
    gelu(int64_t{n} * layer.leaf_size, hidden.data());
    blas.sgemm("N", "N", &layer.output_size, &n, &layer.leaf_size, &unit, w_out, &layer.output_size,
               hidden.data(), &layer.leaf_size, &unit, out, &layer.output_size);
  }

  const BlasRoutines& blas;
  const BlasLayer& layer;
  const bool blocks_by_sgemm;
  const float* x;  // (T, H)
  const Tree* tree = nullptr;
  int64_t* leaves = nullptr;
  int leaf_stride = 1;
};

}  // namespace

void blas_forward(const BlasRoutines& blas, int level, const BlasLayer& layer, int n_tokens,
                  const float* x, float* y, int64_t* leaf) {
  if (level < 1 || level > 3)
    throw std::invalid_argument("level=" + std::to_string(level) + " must be 1, 2 or 3");
  std::fill_n(y, int64_t{n_tokens} * layer.output_size, 0.0f);
  static thread_local Workspace kept;
  Level1 walker(blas, layer);
  ByNode by_node(blas, layer, level == 3, level == 1 ? 0 : n_tokens, x, std::move(kept));
  for (int k = 0; k < layer.n_trees; ++k) {
    const Tree tree = tree_of(layer, k);
    if (level > 1) {
      by_node.run(tree, y, leaf + k, layer.n_trees);
      continue;
    }
    for (int64_t t = 0; t < n_tokens; ++t)
      leaf[t * layer.n_trees + k] =
          walker.walk(tree, x + t * layer.hidden_size, y + t * layer.output_size);
  }
  kept = by_node.release();
}

}  // namespace fff
