// The inner loops over a SIMD type. Included once per instruction set by a file that first defines,
// in its own namespace FFF_NAMESPACE, Simd<float> and Simd<double>:
//
//     Vector, width, zero(), load(p), load(p, n), store(p, v), store(p, v, n), broadcast(s), add(a,
//     b), fma(a, b, c), sum(v) stream(p, v): a store around the cache to an aligned address;
//     fence(): makes those visible to other threads dot_rows: how many rows path_dots takes at
//     once; block_vectors: the width of a column block
//
// No template of the standard library may be used here: the linker keeps one copy of it, and that
// copy might use instructions which the processor lacks.
#include "activations.h"
#include "kernels.h"

// FFF_UNROLL precedes loops over arrays of vectors: only when unrolled do these arrays live in
// registers.
#if defined(__clang__)
#define FFF_PREFETCH(p) __builtin_prefetch(p)
#define FFF_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define FFF_PREFETCH(p) __builtin_prefetch(p)
#define FFF_UNROLL _Pragma("GCC unroll 16")
#else
#define FFF_PREFETCH(p) (void)(p)
#define FFF_UNROLL
#endif

namespace fff {
namespace FFF_NAMESPACE {

// Chains of additions in a dot product: enough to hide the latency of one.
constexpr int n_chains = 4;
// Tokens routed side by side: while one is computed the next row of the one before is fetched.
constexpr int64_t route_tokens = 8;
// Tokens, sorted by leaf, that use a row of their paths one after the other, while it is in the
// first-level cache.
constexpr int64_t path_tokens = 4;
// Slots added in one pass over a token's output: bounds an array.
constexpr int64_t path_slots = 32;
// Tokens whose columns row_sums packs together: with column_block columns they fit the first-level
// cache.
constexpr int64_t chunk_tokens = 32;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// First row of a place in heap order: a node's own row, or the first row of a leaf.
inline int64_t first_row(const Shape& shape, int64_t node) {
  const int64_t leaf = node - shape.n_nodes();
  return leaf < 0 ? node : shape.n_nodes() + leaf * shape.leaf_size;
}

// The row of a slot on the path to the leaf `node`, given in heap order.
inline int64_t slot_row(const Shape& shape, int64_t node, int64_t slot) {
  if (slot >= shape.depth) return first_row(shape, node) + slot - shape.depth;
  return ((node + 1) >> (shape.depth - slot)) - 1;
}

// Dot products of `a` with n_rows rows. The order of additions does not depend on n_rows. Each step
// fetches ahead the same step's part of n_ahead rows which begin at `ahead`.
template <class T, int n_rows, int n_ahead = 1>
inline void dots(int64_t n, const T* a, const T* const* rows, T* result, const T* ahead) {
  using S = Simd<T>;
  typename S::Vector sum[n_rows][n_chains];
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) {
    FFF_UNROLL
    for (int c = 0; c < n_chains; ++c) sum[r][c] = S::zero();
  }
  constexpr int64_t w = S::width;
  int64_t i = 0;
  for (; i + n_chains * w <= n; i += n_chains * w) {
    for (int64_t p = i; p < i + n_chains * w; p += 64 / sizeof(T)) {
      FFF_UNROLL
      for (int r = 0; r < n_ahead; ++r) FFF_PREFETCH(ahead + r * n + p);
    }
    FFF_UNROLL
    for (int c = 0; c < n_chains; ++c) {
      const auto v = S::load(a + i + c * w);
      FFF_UNROLL
      for (int r = 0; r < n_rows; ++r)
        sum[r][c] = S::fma(v, S::load(rows[r] + i + c * w), sum[r][c]);
    }
  }
  FFF_UNROLL
  for (int c = 0; c < n_chains; ++c, i += w) {
    if (i >= n) break;
    const int64_t m = smaller(w, n - i);
    const auto v = S::load(a + i, m);
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) sum[r][c] = S::fma(v, S::load(rows[r] + i, m), sum[r][c]);
  }
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r)
    result[r] = S::sum(S::add(S::add(sum[r][0], sum[r][1]), S::add(sum[r][2], sum[r][3])));
}

// Computes the logits of the leaf that token t reached, and fetches ahead the x of a token to come.
template <class T>
void leaf_logits(const Route<T>& route, int64_t t, int64_t next_token) {
  const Shape& shape = *route.shape;
  const int64_t h = shape.hidden_size, row = first_row(shape, route.node[t]);
  T* logits = route.logits + t * shape.n_slots() + shape.depth;
  const T* ahead = route.x + next_token * h;
  constexpr int n = Simd<T>::dot_rows;
  int64_t i = 0;
  for (; i + n <= shape.leaf_size; i += n) {
    const T* rows[n];
    for (int r = 0; r < n; ++r) rows[r] = route.w_in + (row + i + r) * h;
    dots<T, n>(h, route.x + t * h, rows, logits + i, ahead);
  }
  for (; i < shape.leaf_size; ++i) {
    const T* weight = route.w_in + (row + i) * h;
    dots<T, 1>(h, route.x + t * h, &weight, logits + i, ahead);
  }
  for (i = 0; i < shape.leaf_size; ++i) logits[i] += route.b_in[row + i];
}

// Moves token t one level down; returns the first row it needs next. A token on its own fetches
// both children ahead.
template <class T, bool alone>
inline const T* descend(const Route<T>& route, int64_t t, int64_t level, const T* ahead) {
  const Shape& shape = *route.shape;
  const int64_t h = shape.hidden_size, node = route.node[t];
  const T* weight = route.w_in + node * h;
  if (alone) ahead = route.w_in + first_row(shape, 2 * node + 1) * h;
  T z;
  dots<T, 1, alone ? 2 : 1>(h, route.x + t * h, &weight, &z, ahead);
  z += route.b_in[node];
  route.logits[t * shape.n_slots() + level] = z;
  route.node[t] = 2 * node + 1 + (z > 0);
  return route.w_in + first_row(shape, route.node[t]) * h;
}

// Routes a group of n tokens; n_more tokens follow it in `order`.
template <class T>
void route_group(const Route<T>& route, const int64_t* order, int64_t n, int64_t n_more) {
  const int64_t depth = route.shape->depth;
  const T* ahead = route.w_in;
  for (int64_t level = route.first_step; level < smaller(route.last_step, depth); ++level) {
    if (n == 1)
      descend<T, true>(route, order[0], level, nullptr);
    else
      for (int64_t i = 0; i < n; ++i) ahead = descend<T, false>(route, order[i], level, ahead);
  }
  if (route.last_step > depth)
    for (int64_t i = 0; i < n; ++i) leaf_logits(route, order[i], order[i + smaller(n, n_more)]);
}

template <class T>
void route(const Route<T>& route, Tokens tokens) {
  for (int64_t i = 0, n; i < tokens.n; i += n) {
    n = smaller(route_tokens, tokens.n - i);
    route_group(route, tokens.order + i, n, tokens.n - i - n);
  }
}

// Rows to fetch ahead: those that the next group of tokens uses and this one does not.
template <class T>
struct Ahead {
  const T* rows[16];
  int64_t n = 0;

  void add(const T* row) {
    if (n < 16) rows[n++] = row;
  }

  Ahead(const PathProduct<T>& product, int64_t node, const int64_t* next, int64_t n_next,
        const T* token_rows) {
    const Shape& shape = *product.shape;
    add(product.weight);  // a row to fetch when there is no other
    for (int64_t i = 0; i < n_next; ++i) {
      add(token_rows + next[i] * product.n_columns);
      const int64_t before = node;
      node = product.node[next[i]];
      for (int64_t s = shape.depth;
           s >= shape.first_slot() && slot_row(shape, node, s) != slot_row(shape, before, s); --s)
        add(product.weight + slot_row(shape, node, s) * product.n_columns);
    }
  }

  const T* row(int64_t i) const { return rows[i < n ? i : 0]; }
};

template <class T>
void path_dots(const PathProduct<T>& product, Tokens tokens, const T* source, T* out) {
  const Shape& shape = *product.shape;
  const int64_t c = product.n_columns, n_slots = shape.n_slots();
  constexpr int n = Simd<T>::dot_rows;
  for (int64_t begin = 0, end; begin < tokens.n; begin = end) {
    end = smaller(begin + path_tokens, tokens.n);
    const Ahead<T> ahead(product, product.node[tokens.order[end - 1]], tokens.order + end,
                         smaller(path_tokens, tokens.n - end), source);
    int64_t n_fetched = 0;
    for (int64_t first = shape.first_slot(), last; first < n_slots; first = last) {
      last = first + (n_slots - first >= n ? n : 1);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t t = tokens.order[i];
        const T* rows[n];
        for (int64_t s = first; s < last; ++s)
          rows[s - first] = product.weight + slot_row(shape, product.node[t], s) * c;
        const T* next = ahead.row(++n_fetched);
        if (last - first == n)
          dots<T, n>(c, source + t * c, rows, out + t * n_slots + first, next);
        else
          dots<T, 1>(c, source + t * c, rows, out + t * n_slots + first, next);
      }
    }
  }
}

// n_vectors vectors of the sum over `n` rows of coefficient * row, added to `out` if `add`. The
// last vector has n_last elements.
template <class T, int n_vectors, bool partial>
inline void weighted_sum(int64_t n, const T* const* rows, int64_t column, const T* coefficient,
                         int64_t n_last, bool add, T* out) {
  using S = Simd<T>;
  typename S::Vector sum[n_vectors];
  FFF_UNROLL
  for (int v = 0; v < n_vectors; ++v) {
    if (!add)
      sum[v] = S::zero();
    else
      sum[v] = partial ? S::load(out + v * S::width, n_last) : S::load(out + v * S::width);
  }
  for (int64_t r = 0; r < n; ++r) {
    const auto factor = S::broadcast(coefficient[r]);
    const T* row = rows[r] + column;
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v)
      sum[v] = S::fma(factor,
                      partial ? S::load(row + v * S::width, n_last) : S::load(row + v * S::width),
                      sum[v]);
  }
  FFF_UNROLL
  for (int v = 0; v < n_vectors; ++v) {
    if (partial)
      S::store(out + v * S::width, sum[v], n_last);
    else
      S::store(out + v * S::width, sum[v]);
  }
}

// Adds to a group of tokens the slots first..last-1, one block of columns after the other.
template <class T>
void add_slots(const PathProduct<T>& product, Tokens tokens, int64_t first, int64_t last,
               const T* coefficient, bool add, const Ahead<T>& ahead, T* out) {
  using S = Simd<T>;
  constexpr int64_t w = S::width, block = S::block_vectors * w;
  const Shape& shape = *product.shape;
  const int64_t n_columns = product.n_columns, n_slots = shape.n_slots(), n = last - first;
  const T* rows[path_tokens][path_slots];
  for (int64_t i = 0; i < tokens.n; ++i)
    for (int64_t s = first; s < last; ++s)
      rows[i][s - first] =
          product.weight + slot_row(shape, product.node[tokens.order[i]], s) * n_columns;
  for (int64_t c = 0, next; c < n_columns; c = next) {
    next = c + block <= n_columns ? c + block : smaller(c + w, n_columns);
    for (int64_t r = 1; r < ahead.n; ++r)
      for (int64_t p = c; p < next; p += 64 / sizeof(T)) FFF_PREFETCH(ahead.rows[r] + p);
    for (int64_t i = 0; i < tokens.n; ++i) {
      const int64_t t = tokens.order[i];
      const T* factors = coefficient + t * n_slots + first;
      T* to = out + t * n_columns + c;
      if (next - c == block)
        weighted_sum<T, S::block_vectors, false>(n, rows[i], c, factors, 0, add, to);
      else if (next - c == w)
        weighted_sum<T, 1, false>(n, rows[i], c, factors, 0, add, to);
      else
        weighted_sum<T, 1, true>(n, rows[i], c, factors, next - c, add, to);
    }
  }
}

template <class T>
void path_sums(const PathProduct<T>& product, Tokens tokens, const T* coefficient, bool add,
               T* out) {
  const int64_t first_slot = product.shape->first_slot(), n_slots = product.shape->n_slots();
  for (int64_t i = 0; i < tokens.n; i += path_tokens) {
    const Tokens group{tokens.order + i, smaller(path_tokens, tokens.n - i)};
    const int64_t* next = group.order + group.n;
    const Ahead<T> ahead(product, product.node[next[-1]], next,
                         smaller(path_tokens, tokens.n - i - group.n), out);
    for (int64_t s = first_slot; s < n_slots; s += path_slots)
      add_slots(product, group, s, smaller(s + path_slots, n_slots), coefficient,
                add || s > first_slot, ahead, out);
  }
}

// The columns of one chunk of tokens, packed.
template <class T>
struct Chunk {
  static constexpr int64_t stride = Simd<T>::block_vectors * Simd<T>::width;
  alignas(64) T source[chunk_tokens * stride];
  const T* coefficient[chunk_tokens];
  int64_t leaf[chunk_tokens];
};

// How the sum over a run of tokens, which share a row, gets into that row.
enum class Write { add, store, stream };

template <class T>
inline void write(Write how, T* p, typename Simd<T>::Vector v, int64_t n) {
  using S = Simd<T>;
  if (n < S::width)
    S::store(p, how == Write::add ? S::add(S::load(p, n), v) : v, n);
  else if (how == Write::stream)
    S::stream(p, v);
  else
    S::store(p, how == Write::add ? S::add(S::load(p), v) : v);
}

// Sums tokens begin..end-1 of a chunk, times their coefficients of one slot, into a row's columns.
// The last vector has n_last elements.
template <class T, int n_vectors>
inline void sum_run(const Chunk<T>& chunk, int64_t begin, int64_t end, int64_t slot, int64_t offset,
                    int64_t n_last, Write how, T* out) {
  using S = Simd<T>;
  typename S::Vector sum[n_vectors];
  FFF_UNROLL
  for (int v = 0; v < n_vectors; ++v) sum[v] = S::zero();
  for (int64_t i = begin; i < end; ++i) {
    const auto factor = S::broadcast(chunk.coefficient[i][slot]);
    const T* source = chunk.source + i * chunk.stride + offset;
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v)
      sum[v] = S::fma(factor, S::load(source + v * S::width), sum[v]);
  }
  FFF_UNROLL
  for (int v = 0; v < n_vectors; ++v)
    write(how, out + offset + v * S::width, sum[v], v + 1 < n_vectors ? S::width : n_last);
}

template <class T>
inline void sum_run_columns(const Chunk<T>& chunk, int64_t begin, int64_t end, int64_t slot,
                            int64_t n_columns, Write how, T* out) {
  using S = Simd<T>;
  if (n_columns == chunk.stride) {
    sum_run<T, S::block_vectors>(chunk, begin, end, slot, 0, S::width, how, out);
    return;
  }
  for (int64_t c = 0; c < n_columns; c += S::width)
    sum_run<T, 1>(chunk, begin, end, slot, c, smaller(S::width, n_columns - c), how, out);
}

template <class T>
void pack(const RowSums<T>& sums, int64_t first, int64_t n, int64_t n_columns, Chunk<T>& chunk) {
  using S = Simd<T>;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = sums.token[first + i];
    const T* source = sums.source + t * sums.n_columns + sums.first_column;
    T* to = chunk.source + i * chunk.stride;
    int64_t c = 0;
    for (; c + S::width <= n_columns; c += S::width) S::store(to + c, S::load(source + c));
    if (c < n_columns) S::store(to + c, S::load(source + c, n_columns - c));
    chunk.coefficient[i] = sums.coefficient + t * sums.shape->n_slots();
    chunk.leaf[i] = sums.leaf[first + i];
  }
}

// Streaming stores need alignment, of the matrix and from row to row.
template <class T>
bool can_stream(const RowSums<T>& sums) {
  return reinterpret_cast<uintptr_t>(sums.sums) % 64 == 0 && sums.n_columns * sizeof(T) % 64 == 0;
}

// Sums a packed chunk into the rows at one level. `previous` is the leaf of the token before the
// chunk, -1 if none.
template <class T>
void sum_level(const RowSums<T>& sums, const Chunk<T>& chunk, int64_t n, int64_t n_columns,
               int64_t level, int64_t previous) {
  const Shape& shape = *sums.shape;
  const bool stream = sums.stream && can_stream(sums);
  const int64_t shift = shape.depth - level, n_rows = level < shape.depth ? 1 : shape.leaf_size;
  const int64_t first = level < shape.depth ? (int64_t{1} << level) - 1 : shape.n_nodes();
  for (int64_t begin = 0, end; begin < n; begin = end) {
    const int64_t place = chunk.leaf[begin] >> shift;
    for (end = begin + 1; end < n && chunk.leaf[end] >> shift == place; ++end) {
    }
    const bool begun = begin == 0 && previous >= 0 && previous >> shift == place;
    const Write how = begun ? Write::add : stream && end < n ? Write::stream : Write::store;
    T* out = sums.sums + (first + place * n_rows) * sums.n_columns + sums.first_column;
    for (int64_t r = 0; r < n_rows; ++r, out += sums.n_columns)
      sum_run_columns(chunk, begin, end, level + r, n_columns, how, out);
  }
}

template <class T>
void row_sums(const RowSums<T>& sums) {
  const Shape& shape = *sums.shape;
  Chunk<T> chunk;
  const int64_t n_columns = smaller(chunk.stride, sums.n_columns - sums.first_column);
  for (int64_t i = 0; i < shape.n_tokens; i += chunk_tokens) {
    const int64_t n = smaller(chunk_tokens, shape.n_tokens - i);
    pack(sums, i, n, n_columns, chunk);
    const int64_t previous = i > 0 ? sums.leaf[i - 1] : -1;
    for (int64_t level = shape.first_slot(); level <= shape.depth; ++level)
      sum_level(sums, chunk, n, n_columns, level, previous);
  }
  Simd<T>::fence();
}

template <class T>
Kernels<T> table() {
  return {route<T>, activate<T>, path_dots<T>, path_sums<T>, row_sums<T>, Chunk<T>::stride};
}

template Kernels<float> table<float>();
template Kernels<double> table<double>();

}  // namespace FFF_NAMESPACE
}  // namespace fff
