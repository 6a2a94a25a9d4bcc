// The inner loops over a SIMD type. Included once per instruction set by a file that first defines,
// in its own namespace FFF_NAMESPACE, Simd<float> and Simd<double>:
//
//     Vector, width, zero(), load(p), store(p, v), broadcast(s), add(a, b), fma(a, b, c)
//     load(p) also from bfloat16 and int8 and store(p, v) also to bfloat16, for float
//     sum4(v, out): the sums of four vectors, each added up in the same order
//     stream(p, v): a store around the cache to an aligned address; fence(): makes those visible to
//     other threads
//     keep(v): v in a register
//     n_registers: vectors that registers hold
//
// No template of the standard library may be used here: the linker keeps one copy of it, and that
// copy might use instructions which the processor lacks.
#include "activations.h"
#include "core/kernels.h"

// FFF_UNROLL precedes loops over arrays of vectors: only when unrolled do these arrays live in
// registers.
#if defined(__clang__)
#define FFF_UNROLL _Pragma("unroll")
#define FFF_INLINE inline __attribute__((always_inline))
#elif defined(__GNUC__)
#define FFF_UNROLL _Pragma("GCC unroll 16")
#define FFF_INLINE inline __attribute__((always_inline))
#else
#define FFF_UNROLL
#define FFF_INLINE inline
#endif

namespace fff {
namespace FFF_NAMESPACE {

// Chains of additions in a dot product: two hide the latency of one where few rows are multiplied.
constexpr int n_chains = 2;
// Rows multiplied at once: a node and its two children.
constexpr int tile_rows = 3;
// Registers that hold sums; the others hold operands.
template <class C>
constexpr int most_sums = Simd<C>::n_registers * 3 / 4;
// Tokens multiplied at once.
constexpr int tile_tokens = 4;
// path_sums: tokens summed at once, and vectors of each. Where there are 32 registers, 6 vectors take
// 3 % less time than 4, but up to a fifth more where stores wait for lines of the output to come
// into the cache. Where there are 16, tokens that share most rows take turns after each chunk of
// whole lines, so that the rows' chunk stays in the first-level cache.
template <class C>
constexpr bool many_registers = Simd<C>::n_registers >= 32;
template <class C>
constexpr int summed_tokens = many_registers<C> ? 4 : 3;
template <class C, int n_tokens>
constexpr int summed_vectors = n_tokens == 1 || (n_tokens == 2 && many_registers<C>) ? 8 : 4;
template <class C>
constexpr int streamed_vectors = many_registers<C> ? 6 : 4;
// Tokens that row_sums adds together: the columns of them that it adds at a time fit the first-level
// cache.
constexpr int64_t tokens_per_chunk = 32;
constexpr int64_t line_bytes = 64;

template <class N>
inline N smaller(N a, N b) {
  return a < b ? a : b;
}

// Lines that are fetched at a time while memory is busy.
constexpr int lines_at_once = 4;

// Fetches up to n lines of the next row.
inline void fetch_lines(FetchAhead& ahead, int n) {
  if (!ahead.enabled) return;
  FetchAhead::Row row = ahead.soon();
  const bool soon = row.at != nullptr;
  if (!soon) {
    row = ahead.later();
    if (row.at == nullptr) return;
    n = smaller(n, lines_at_once);
  }
  const char* until = row.last - row.at > n * line_bytes ? row.at + n * line_bytes : row.last;
  for (; row.at < until; row.at += line_bytes) FFF_PREFETCH(row.at);
  if (soon)
    ahead.fetched_soon(until);
  else
    ahead.fetched_later(until);
}

template <class C, class X>
inline typename Simd<C>::Vector load_part(const X* p, int64_t n) {
  X copy[Simd<C>::width] = {};
  for (int64_t i = 0; i < n; ++i) copy[i] = p[i];
  return Simd<C>::load(copy);
}

template <class C, class Y>
inline void store_part(Y* p, typename Simd<C>::Vector v, int64_t n) {
  Y copy[Simd<C>::width];
  Simd<C>::store(copy, v);
  for (int64_t i = 0; i < n; ++i) p[i] = copy[i];
}

// How a token's numbers are multiplied with a row's, `width` at a time. An instruction set may
// specialise it for a pair of types.
template <class C, class X, class W>
struct Product {
  using S = Simd<C>;
  using Operand = typename S::Vector;
  static constexpr int64_t width = S::width;
  template <class N>
  static Operand load(const N* p) {
    return S::load(p);
  }
  static typename S::Vector fma(Operand x, Operand w, typename S::Vector sum) {
    return S::fma(x, w, sum);
  }
};

#ifdef FFF_PRODUCTS
FFF_PRODUCTS
#endif

// Multiplies `width` columns from `at` on.
template <class C, class X, class W, int n_tokens, int n_rows>
FFF_INLINE void multiply_columns(const X* const* tokens, const W* const* rows, int64_t at,
                                 typename Simd<C>::Vector (&sum)[n_tokens][n_rows]) {
  using P = Product<C, X, W>;
  // In registers, else each product would load them again.
  typename P::Operand row[n_rows];
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) row[r] = Simd<C>::keep(P::load(rows[r] + at));
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    const auto token = Simd<C>::keep(P::load(tokens[t] + at));
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) sum[t][r] = P::fma(token, row[r], sum[t][r]);
  }
}

// Columns at..n - 1 of n_vectors vectors, padded with zeros.
template <class N, int n_vectors, int64_t n_columns>
struct Padded {
  N values[n_vectors][n_columns] = {};
  const N* rows[n_vectors];

  FFF_INLINE Padded(const N* const* vectors, int64_t at, int64_t n) {
    for (int v = 0; v < n_vectors; ++v) {
      for (int64_t i = at; i < n; ++i) values[v][i - at] = vectors[v][i];
      rows[v] = values[v];
    }
  }
};

// n_tokens x n_rows dot products. The order of additions does not depend on either.
template <class C, class X, class W, int n_tokens, int n_rows>
void dot_tile(const Dots<C>& product, const X* const* tokens, const W* const* rows, C* out,
              FetchAhead& ahead) {
  using S = Simd<C>;
  using P = Product<C, X, W>;
  constexpr int n_sums = n_tokens * n_rows, n_padded = (n_sums + 3) / 4 * 4;
  // Chains go together where registers hold all their sums, else one after the other.
  constexpr int together = n_chains * n_sums <= most_sums<C> ? n_chains : 1;
  constexpr int64_t step = n_chains * P::width;
  const int64_t n = product.n_columns, whole = n / step * step;
  typename S::Vector total[n_padded];
  FFF_UNROLL
  for (int j = 0; j < n_padded; ++j) total[j] = S::zero();
  for (int first = 0; first < n_chains; first += together) {
    typename S::Vector sum[together][n_tokens][n_rows];
    FFF_UNROLL
    for (int c = 0; c < together; ++c) {
      FFF_UNROLL
      for (int t = 0; t < n_tokens; ++t) {
        FFF_UNROLL
        for (int r = 0; r < n_rows; ++r) sum[c][t][r] = S::zero();
      }
    }
    for (int64_t i = first * P::width; i < whole; i += step) {
      fetch_lines(ahead, together * (n_tokens + n_rows));
      FFF_UNROLL
      for (int c = 0; c < together; ++c)
        multiply_columns<C, X, W, n_tokens, n_rows>(tokens, rows, i + c * P::width, sum[c]);
    }
    if (whole < n) {
      const Padded<X, n_tokens, step> last_tokens(tokens, whole, n);
      const Padded<W, n_rows, step> last_rows(rows, whole, n);
      FFF_UNROLL
      for (int c = 0; c < together; ++c)
        multiply_columns<C, X, W, n_tokens, n_rows>(last_tokens.rows, last_rows.rows,
                                                    (first + c) * P::width, sum[c]);
    }
    FFF_UNROLL
    for (int c = 0; c < together; ++c) {
      FFF_UNROLL
      for (int j = 0; j < n_sums; ++j) {
        const auto one = sum[c][j / n_rows][j % n_rows];
        total[j] = first + c == 0 ? one : S::add(total[j], one);
      }
    }
  }
  C results[n_padded];
  FFF_UNROLL
  for (int j = 0; j < n_padded; j += 4) S::sum4(total + j, results + j);
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) out[t * product.stride + r] = results[t * n_rows + r];
  }
}

// n_rows rows from r on, for tokens that may not share them.
template <class C, class X, class W, int n_tokens, int n_rows>
inline void dot_paths(const Dots<C>& product, const X* const* tokens, int64_t first, int64_t r,
                      FetchAhead& ahead) {
  const void* const* rows = product.rows + first * product.row_stride + r;
  C* out = product.out + first * product.stride + r;
  bool same = true;
  for (int t = 1; t < n_tokens; ++t)
    same = same && rows[t * product.row_stride + n_rows - 1] == rows[n_rows - 1];
  if (same)
    return dot_tile<C, X, W, n_tokens, n_rows>(
        product, tokens, reinterpret_cast<const W* const*>(rows), out, ahead);
  for (int t = 0; t < n_tokens; ++t)
    dot_tile<C, X, W, 1, n_rows>(
        product, tokens + t, reinterpret_cast<const W* const*>(rows + t * product.row_stride),
        out + t * product.stride, ahead);
}

template <class C, class X, class W, int n_tokens>
inline void dot_rows(const Dots<C>& product, int64_t first, FetchAhead& ahead) {
  const X* tokens[n_tokens];
  for (int t = 0; t < n_tokens; ++t)
    tokens[t] = static_cast<const X*>(product.source) + product.tokens[first + t] * product.n_columns;
  int64_t r = 0;
  for (; r + tile_rows <= product.n_rows; r += tile_rows)
    dot_paths<C, X, W, n_tokens, tile_rows>(product, tokens, first, r, ahead);
  if (product.n_rows - r == 2) dot_paths<C, X, W, n_tokens, 2>(product, tokens, first, r, ahead);
  if (product.n_rows - r == 1) dot_paths<C, X, W, n_tokens, 1>(product, tokens, first, r, ahead);
}

template <class C, class X, class W>
void dots(const Dots<C>& product, FetchAhead& ahead) {
  int64_t i = 0;
  for (; i + tile_tokens <= product.n_tokens; i += tile_tokens)
    dot_rows<C, X, W, tile_tokens>(product, i, ahead);
  for (; i + 2 <= product.n_tokens; i += 2) dot_rows<C, X, W, 2>(product, i, ahead);
  if (i < product.n_tokens) dot_rows<C, X, W, 1>(product, i, ahead);
}

// n_vectors vectors of the sums of n_tokens tokens, from a column on. The tokens share their first
// n_shared rows. n_last is the number of elements of the last vector, if partial.
template <class C, class W, class Y, int n_tokens, int n_vectors, bool partial>
inline void sum_tile(const PathSums<C>& sums, int64_t first, int64_t n_shared, int64_t column,
                     int64_t n_last, FetchAhead& ahead) {
  using S = Simd<C>;
  constexpr int64_t w = S::width;
  typename S::Vector sum[n_tokens][n_vectors];
  Y* out[n_tokens];
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    out[t] = static_cast<Y*>(sums.out) + sums.tokens[first + t] * sums.n_columns + column;
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      if (!sums.add)
        sum[t][v] = S::zero();
      else
        sum[t][v] = partial ? load_part<C>(out[t], n_last) : S::load(out[t] + v * w);
    }
  }
  const C* coefficient = sums.coefficient + first * sums.stride;
  const W* const* rows = reinterpret_cast<const W* const*>(sums.rows) + first * sums.n_rows;
  const auto load = [&](const W* row, int v) {
    return partial ? load_part<C>(row + column, n_last) : S::load(row + column + v * w);
  };
  for (int64_t r = 0; r < n_shared; ++r) {
    fetch_lines(ahead, lines_at_once);
    typename S::Vector factor[n_tokens];
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) factor[t] = S::broadcast(coefficient[t * sums.stride + r]);
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      const auto row = S::keep(load(rows[r], v));
      FFF_UNROLL
      for (int t = 0; t < n_tokens; ++t) sum[t][v] = S::fma(factor[t], row, sum[t][v]);
    }
  }
  for (int64_t r = n_shared; r < sums.n_rows; ++r) {
    fetch_lines(ahead, lines_at_once);
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      const auto factor = S::broadcast(coefficient[t * sums.stride + r]);
      FFF_UNROLL
      for (int v = 0; v < n_vectors; ++v)
        sum[t][v] = S::fma(factor, load(rows[t * sums.n_rows + r], v), sum[t][v]);
    }
  }
  if (!partial && sums.stream) {
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      FFF_UNROLL
      for (int v = 0; v < n_vectors; ++v) S::stream(out[t] + v * w, sum[t][v]);
    }
    return;
  }
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      if (partial)
        store_part<C>(out[t], sum[t][v], n_last);
      else
        S::store(out[t] + v * w, sum[t][v]);
    }
  }
}

// How many of their rows, from the root on, n_tokens tokens share.
template <class C>
inline int64_t shared_rows(const PathSums<C>& sums, int64_t first, int64_t n_tokens) {
  const void* const* rows = sums.rows + first * sums.n_rows;
  const auto same = [&](int64_t r) {
    bool all = true;
    for (int64_t t = 1; t < n_tokens; ++t) all = all && rows[t * sums.n_rows + r] == rows[r];
    return all;
  };
  if (sums.n_rows == 0 || same(sums.n_rows - 1)) return sums.n_rows;
  int64_t r = 0;
  while (same(r)) ++r;
  return r;
}

// Columns begin..end - 1 of the sums of n_tokens tokens.
template <class C, class W, class Y, int n_tokens, int n_vectors>
inline void sum_columns(const PathSums<C>& sums, int64_t first, int64_t begin, int64_t end,
                        FetchAhead& ahead) {
  constexpr int64_t w = Simd<C>::width;
  const int64_t n_shared = shared_rows(sums, first, n_tokens);
  int64_t c = begin;
  for (; c + n_vectors * w <= end; c += n_vectors * w)
    sum_tile<C, W, Y, n_tokens, n_vectors, false>(sums, first, n_shared, c, w, ahead);
  for (; c + w <= end; c += w)
    sum_tile<C, W, Y, n_tokens, 1, false>(sums, first, n_shared, c, w, ahead);
  if (c < end) sum_tile<C, W, Y, n_tokens, 1, true>(sums, first, n_shared, c, end - c, ahead);
}

// The sums of as many tokens as make up groups of summed_tokens; returns how many.
template <class C, class W, class Y, int n_vectors>
inline int64_t sum_groups(const PathSums<C>& sums, FetchAhead& ahead) {
  constexpr int n_tokens = summed_tokens<C>;
  const int64_t n = sums.n_tokens / n_tokens * n_tokens;
  const bool shared = n > 0 && 4 * shared_rows(sums, 0, n) >= 3 * sums.n_rows;
  const int64_t chunk =
      shared && !many_registers<C> ? n_vectors * Simd<C>::width : sums.n_columns;
  for (int64_t c = 0; c < sums.n_columns; c += chunk)
    for (int64_t i = 0; i < n; i += n_tokens)
      sum_columns<C, W, Y, n_tokens, n_vectors>(sums, i, c, smaller(c + chunk, sums.n_columns),
                                                ahead);
  return n;
}

template <class C, class W, class Y>
void path_sums(const PathSums<C>& sums, FetchAhead& ahead) {
  const int64_t n = sums.n_columns;
  int64_t i = sums.stream ? sum_groups<C, W, Y, streamed_vectors<C>>(sums, ahead)
                          : sum_groups<C, W, Y, summed_vectors<C, summed_tokens<C>>>(sums, ahead);
  for (; i + 2 <= sums.n_tokens; i += 2)
    sum_columns<C, W, Y, 2, summed_vectors<C, 2>>(sums, i, 0, n, ahead);
  if (i < sums.n_tokens) sum_columns<C, W, Y, 1, summed_vectors<C, 1>>(sums, i, 0, n, ahead);
  if (sums.stream) Simd<C>::fence();
}

// One chunk of tokens: where their columns are, in the first-level cache from row to row.
template <class C, class X>
struct Chunk {
  static constexpr int64_t n_vectors = 8;
  static constexpr int64_t n_columns = n_vectors * Simd<C>::width;
  const X* source[tokens_per_chunk];
  const C* coefficient[tokens_per_chunk];
  int32_t leaf[tokens_per_chunk];
};

// How the sum over a run of tokens, which share a row, gets into that row.
enum class Write { add, store, stream };

template <class C>
inline void write(Write how, C* p, typename Simd<C>::Vector v, int64_t n) {
  using S = Simd<C>;
  if (n < S::width)
    store_part<C>(p, how == Write::add ? S::add(load_part<C>(p, n), v) : v, n);
  else if (how == Write::stream)
    S::stream(p, v);
  else
    S::store(p, how == Write::add ? S::add(S::load(p), v) : v);
}

// Sums tokens begin..end-1 of a chunk, times their coefficients of n_rows slots, into columns of as
// many rows. The last vector has n_last elements.
template <class C, class X, int n_rows, int n_vectors, bool partial>
inline void sum_run(const Chunk<C, X>& chunk, int64_t begin, int64_t end, int64_t slot,
                    int64_t offset, int64_t n_last, const Write* how, C* const* rows) {
  using S = Simd<C>;
  typename S::Vector sum[n_rows][n_vectors];
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) sum[r][v] = S::zero();
  }
  for (int64_t i = begin; i < end; ++i) {
    const X* from = chunk.source[i] + offset;
    typename S::Vector factor[n_rows];
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) factor[r] = S::broadcast(chunk.coefficient[i][slot + r]);
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      const auto source =
          S::keep(partial ? load_part<C>(from, n_last) : S::load(from + v * S::width));
      FFF_UNROLL
      for (int r = 0; r < n_rows; ++r) sum[r][v] = S::fma(factor[r], source, sum[r][v]);
    }
  }
  FFF_UNROLL
  for (int r = 0; r < n_rows; ++r) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v)
      write(how[r], rows[r] + offset + v * S::width, sum[r][v],
            v + 1 < n_vectors ? S::width : n_last);
  }
}

template <class C, class X, int n_rows>
inline void sum_run_columns(const Chunk<C, X>& chunk, int64_t begin, int64_t end, int64_t slot,
                            int64_t n_columns, const Write* how, C* const* rows) {
  constexpr int64_t w = Simd<C>::width;
  // Several rows share each load, but no more than their sums fit the registers.
  constexpr int n_vectors = n_rows == 1 ? Chunk<C, X>::n_vectors : most_sums<C> / n_rows;
  int64_t c = 0;
  for (; c + n_vectors * w <= n_columns; c += n_vectors * w)
    sum_run<C, X, n_rows, n_vectors, false>(chunk, begin, end, slot, c, w, how, rows);
  for (; c + w <= n_columns; c += w)
    sum_run<C, X, n_rows, 1, false>(chunk, begin, end, slot, c, w, how, rows);
  if (c < n_columns)
    sum_run<C, X, n_rows, 1, true>(chunk, begin, end, slot, c, n_columns - c, how, rows);
}

// Finds columns of tokens first..first + n - 1, and fetches those of the chunk to come.
template <class C, class X>
void find(const RowSums<C>& sums, int64_t first, int64_t n, int64_t column, int64_t n_columns,
          Chunk<C, X>& chunk) {
  const X* source = static_cast<const X*>(sums.source) + column;
  const int64_t until = fetches_ahead() ? sums.shape->n_tokens - tokens_per_chunk : 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = sums.token[first + i];
    if (first + i < until) {
      const X* ahead = source + sums.token[first + i + tokens_per_chunk] * sums.n_columns;
      for (int64_t c = 0; c < n_columns; c += line_bytes / sizeof(X)) FFF_PREFETCH(ahead + c);
    }
    chunk.source[i] = source + t * sums.n_columns;
    chunk.coefficient[i] = sums.coefficient + t * sums.shape->n_slots();
    chunk.leaf[i] = sums.leaf[first + i];
  }
}

// Where the sums of one chunk go: the rows of a tree, in part begun by the chunk before.
template <class C, class X>
struct ChunkSums {
  const RowSums<C>& sums;
  const Chunk<C, X>& chunk;
  int64_t n;  // tokens
  int64_t column;
  int64_t n_columns;
  int64_t previous;       // leaf of the token before the chunk, -1 if none
  int64_t segment_leaf;   // leaf of the segment's first token
  bool stream;

  // Which node of a level, or which leaf, counted from the left, is on the path to a leaf.
  int64_t place(int64_t leaf, int64_t level) const { return leaf >> (sums.shape->depth - level); }

  bool is_shared(int64_t i, int64_t level) const {
    return level < sums.n_shared && place(chunk.leaf[i], level) == place(segment_leaf, level);
  }

  // How the sum of a run of tokens is written into its row on a level.
  Write how(int64_t begin, int64_t end, int64_t level) const {
    if (begin == 0 && previous >= 0 &&
        place(previous, level) == place(chunk.leaf[begin], level))
      return Write::add;
    return stream && end < n && !is_shared(begin, level) ? Write::stream : Write::store;
  }

  // The row of a token's slot: of the node on a level, or one of its leaf.
  C* row(int64_t i, int64_t slot) const {
    const Shape& shape = *sums.shape;
    const int64_t level = smaller(slot, shape.depth);
    if (is_shared(i, level)) return sums.shared + slot * sums.n_columns + column;
    const int64_t at = place(chunk.leaf[i], level);
    const int64_t r = level < shape.depth
                          ? (int64_t{1} << level) - 1 + at
                          : shape.n_nodes() + at * shape.leaf_size + slot - shape.depth;
    return sums.sums + r * sums.n_columns + column;
  }

  // Sums a run of tokens into the rows of n_rows slots.
  template <int n_rows>
  void add_slots(int64_t begin, int64_t end, int64_t slot) const {
    C* rows[n_rows];
    Write how_rows[n_rows];
    for (int r = 0; r < n_rows; ++r) {
      rows[r] = row(begin, slot + r);
      how_rows[r] = how(begin, end, smaller(slot + r, sums.shape->depth));
    }
    sum_run_columns<C, X, n_rows>(chunk, begin, end, slot, n_columns, how_rows, rows);
  }

  void add() const {
    const int64_t depth = sums.shape->depth, n_slots = sums.shape->n_slots();
    const auto shared_by_chunk = [&](int64_t level) {
      return level < depth && place(chunk.leaf[0], level) == place(chunk.leaf[n - 1], level);
    };
    int64_t level = sums.shape->first_slot();
    for (; shared_by_chunk(level + tile_rows - 1); level += tile_rows)
      add_slots<tile_rows>(0, n, level);
    for (; level <= depth; ++level) {
      for (int64_t begin = 0, end; begin < n; begin = end) {
        const int64_t at = place(chunk.leaf[begin], level);
        for (end = begin + 1; end < n && place(chunk.leaf[end], level) == at; ++end) {
        }
        if (level < depth) {
          add_slots<1>(begin, end, level);
          continue;
        }
        int64_t slot = depth;
        for (; slot + tile_rows <= n_slots; slot += tile_rows)
          add_slots<tile_rows>(begin, end, slot);
        for (; slot < n_slots; ++slot) add_slots<1>(begin, end, slot);
      }
    }
  }
};

// Streaming stores need alignment, of the matrix and from row to row.
template <class C>
bool can_stream(const RowSums<C>& sums) {
  return reinterpret_cast<uintptr_t>(sums.sums) % line_bytes == 0 &&
         sums.n_columns * sizeof(C) % line_bytes == 0;
}

template <class C, class X>
void row_sums(const RowSums<C>& sums) {
  Chunk<C, X> chunk;
  const bool stream = sums.stream && can_stream(sums);
  for (int64_t i = sums.begin; i < sums.end; i += tokens_per_chunk) {
    const int64_t n = smaller(tokens_per_chunk, sums.end - i);
    const int64_t previous = i > sums.segment_begin ? sums.leaf[i - 1] : -1;
    for (int64_t c = 0; c < sums.n_columns; c += chunk.n_columns) {
      const int64_t n_columns = smaller(chunk.n_columns, sums.n_columns - c);
      find<C, X>(sums, i, n, c, n_columns, chunk);
      ChunkSums<C, X>{sums,     chunk,  n, c, n_columns, previous, sums.leaf[sums.segment_begin],
                      stream}
          .add();
    }
  }
  Simd<C>::fence();
}

template <class C>
void to_bfloat16(int64_t n, const C* from, bfloat16* to) {
  int64_t i = 0;
  if constexpr (sizeof(C) == sizeof(float)) {
    for (; i + Simd<C>::width <= n; i += Simd<C>::width)
      Simd<C>::store(to + i, Simd<C>::load(from + i));
    if (i < n) store_part<C>(to + i, load_part<C>(from + i, n - i), n - i);
  }
}

template <class X>
typename Kernels<float>::DotsFunction float_dots(Type rows) {
  switch (rows) {
    case Type::float32: return dots<float, X, float>;
    case Type::bfloat16: return dots<float, X, bfloat16>;
    case Type::int8: return dots<float, X, int8_t>;
    default: return nullptr;
  }
}

template <class W>
typename Kernels<float>::PathSumsFunction float_path_sums(Type out) {
  return out == Type::bfloat16 ? path_sums<float, W, bfloat16> : path_sums<float, W, float>;
}

template <class C>
Kernels<C> table();

template <>
Kernels<float> table<float>() {
  return {[](Type source, Type rows) {
            return source == Type::bfloat16 ? float_dots<bfloat16>(rows) : float_dots<float>(rows);
          },
          [](Type rows, Type out) -> Kernels<float>::PathSumsFunction {
            switch (rows) {
              case Type::float32: return float_path_sums<float>(out);
              case Type::bfloat16: return float_path_sums<bfloat16>(out);
              case Type::int8: return float_path_sums<int8_t>(out);
              default: return nullptr;
            }
          },
          [](Type source) {
            return source == Type::bfloat16 ? row_sums<float, bfloat16> : row_sums<float, float>;
          },
          activate<float>, to_bfloat16<float>};
}

template <>
Kernels<double> table<double>() {
  return {[](Type, Type) -> Kernels<double>::DotsFunction { return dots<double, double, double>; },
          [](Type, Type) -> Kernels<double>::PathSumsFunction {
            return path_sums<double, double, double>;
          },
          [](Type) -> Kernels<double>::RowSumsFunction { return row_sums<double, double>; },
          activate<double>, to_bfloat16<double>};
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
