// Dot products of tokens with rows of weights.
#pragma once

#include "vectors.h"

namespace fff {
namespace FFF_NAMESPACE {

// Chains of additions in a dot product: two hide the latency of one where few rows are multiplied.
constexpr int n_chains = 2;
// Tokens multiplied at once.
constexpr int tile_tokens = 4;

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
              Prefetcher& prefetcher) {
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
      prefetch_lines(prefetcher, together * (n_tokens + n_rows));
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
                      Prefetcher& prefetcher) {
  const void* const* rows = product.rows + first * product.row_stride + r;
  C* out = product.out + first * product.stride + r;
  bool same = true;
  for (int t = 1; t < n_tokens; ++t)
    same = same && rows[t * product.row_stride + n_rows - 1] == rows[n_rows - 1];
  if (same)
    return dot_tile<C, X, W, n_tokens, n_rows>(
        product, tokens, reinterpret_cast<const W* const*>(rows), out, prefetcher);
  for (int t = 0; t < n_tokens; ++t)
    dot_tile<C, X, W, 1, n_rows>(product, tokens + t,
                                 reinterpret_cast<const W* const*>(rows + t * product.row_stride),
                                 out + t * product.stride, prefetcher);
}

template <class C, class X, class W, int n_tokens>
inline void dot_rows(const Dots<C>& product, int64_t first, Prefetcher& prefetcher) {
  const X* tokens[n_tokens];
  for (int t = 0; t < n_tokens; ++t)
    tokens[t] =
        static_cast<const X*>(product.source) + product.tokens[first + t] * product.n_columns;
  int64_t r = 0;
  for (; r + tile_rows <= product.n_rows; r += tile_rows)
    dot_paths<C, X, W, n_tokens, tile_rows>(product, tokens, first, r, prefetcher);
  if (product.n_rows - r == 2)
    dot_paths<C, X, W, n_tokens, 2>(product, tokens, first, r, prefetcher);
  if (product.n_rows - r == 1)
    dot_paths<C, X, W, n_tokens, 1>(product, tokens, first, r, prefetcher);
}

template <class C, class X, class W>
void dots(const Dots<C>& product, Prefetcher& prefetcher) {
  int64_t i = 0;
  for (; i + tile_tokens <= product.n_tokens; i += tile_tokens)
    dot_rows<C, X, W, tile_tokens>(product, i, prefetcher);
  for (; i + 2 <= product.n_tokens; i += 2) dot_rows<C, X, W, 2>(product, i, prefetcher);
  if (i < product.n_tokens) dot_rows<C, X, W, 1>(product, i, prefetcher);
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
