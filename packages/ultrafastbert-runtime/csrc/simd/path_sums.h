// Sums of the rows on the paths of tokens: a layer's outputs, and the gradients of its inputs.
#pragma once

#include "vectors.h"

namespace fff {
namespace FFF_NAMESPACE {

// Tokens summed at once, and vectors of each. Where there are 32 registers, 6 vectors take
// 3 % less time than 4, but up to a fifth more where stores wait for lines of the output to come
// into the cache. Where there are 16, tokens that share most rows take turns after each chunk of
// whole lines, so that the rows' chunk stays in the L1 cache.
template <class C>
constexpr int summed_tokens = many_registers<C> ? 4 : 3;
template <class C, int n_tokens>
constexpr int summed_vectors = n_tokens == 1 || (n_tokens == 2 && many_registers<C>) ? 8 : 4;
template <class C>
constexpr int streamed_vectors = many_registers<C> ? 6 : 4;

// Where the sums of n_tokens tokens go, from a column on.
template <class C, class Y, int n_tokens>
FFF_INLINE void find_outputs(const PathSums<C>& sums, int64_t first, int64_t column,
                             Y* (&out)[n_tokens]) {
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t)
    out[t] = static_cast<Y*>(sums.out) + sums.tokens[first + t] * sums.n_columns + column;
}

// Sums begin with zeros, or with what is in `out`.
template <class C, bool partial, class Y, int n_tokens, int n_vectors>
FFF_INLINE void begin_sums(bool add, Y* const (&out)[n_tokens], int64_t n_last,
                           typename Simd<C>::Vector (&sum)[n_tokens][n_vectors]) {
  using S = Simd<C>;
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      if (!add)
        sum[t][v] = S::zero();
      else
        sum[t][v] = partial ? load_part<C>(out[t], n_last) : S::load(out[t] + v * S::width);
    }
  }
}

template <class C, bool partial, class Y, int n_tokens, int n_vectors>
FFF_INLINE void end_sums(bool stream, Y* const (&out)[n_tokens], int64_t n_last,
                         const typename Simd<C>::Vector (&sum)[n_tokens][n_vectors]) {
  using S = Simd<C>;
  if (!partial && stream) {
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      FFF_UNROLL
      for (int v = 0; v < n_vectors; ++v) S::stream(out[t] + v * S::width, sum[t][v]);
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
        S::store(out[t] + v * S::width, sum[t][v]);
    }
  }
}

// n_vectors vectors of the sums of n_tokens tokens, from a column on. The tokens share their first
// n_shared rows. n_last is the number of elements of the last vector, if partial.
template <class C, class W, class Y, int n_tokens, int n_vectors, bool partial>
inline void sum_tile(const PathSums<C>& sums, int64_t first, int64_t n_shared, int64_t column,
                     int64_t n_last, Prefetcher& prefetcher) {
  using S = Simd<C>;
  typename S::Vector sum[n_tokens][n_vectors];
  Y* out[n_tokens];
  find_outputs<C>(sums, first, column, out);
  begin_sums<C, partial>(sums.add, out, n_last, sum);
  const C* coefficient = sums.coefficient + first * sums.stride;
  const W* const* rows = reinterpret_cast<const W* const*>(sums.rows) + first * sums.n_rows;
  const auto load = [&](const W* row, int v) {
    return partial ? load_part<C>(row + column, n_last) : S::load(row + column + v * S::width);
  };
  for (int64_t r = 0; r < n_shared; ++r) {
    prefetch_lines(prefetcher, lines_at_once);
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
    prefetch_lines(prefetcher, lines_at_once);
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      const auto factor = S::broadcast(coefficient[t * sums.stride + r]);
      FFF_UNROLL
      for (int v = 0; v < n_vectors; ++v)
        sum[t][v] = S::fma(factor, load(rows[t * sums.n_rows + r], v), sum[t][v]);
    }
  }
  end_sums<C, partial>(sums.stream, out, n_last, sum);
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
                        Prefetcher& prefetcher) {
  constexpr int64_t w = Simd<C>::width;
  const int64_t n_shared = shared_rows(sums, first, n_tokens);
  int64_t c = begin;
  for (; c + n_vectors * w <= end; c += n_vectors * w)
    sum_tile<C, W, Y, n_tokens, n_vectors, false>(sums, first, n_shared, c, w, prefetcher);
  for (; c + w <= end; c += w)
    sum_tile<C, W, Y, n_tokens, 1, false>(sums, first, n_shared, c, w, prefetcher);
  if (c < end) sum_tile<C, W, Y, n_tokens, 1, true>(sums, first, n_shared, c, end - c, prefetcher);
}

// The sums of as many tokens as make up groups of summed_tokens; returns how many.
template <class C, class W, class Y, int n_vectors>
inline int64_t sum_groups(const PathSums<C>& sums, Prefetcher& prefetcher) {
  constexpr int n_tokens = summed_tokens<C>;
  const int64_t n = sums.n_tokens / n_tokens * n_tokens;
  const bool shared = n > 0 && 4 * shared_rows(sums, 0, n) >= 3 * sums.n_rows;
  const int64_t chunk = shared && !many_registers<C> ? n_vectors * Simd<C>::width : sums.n_columns;
  for (int64_t c = 0; c < sums.n_columns; c += chunk)
    for (int64_t i = 0; i < n; i += n_tokens)
      sum_columns<C, W, Y, n_tokens, n_vectors>(sums, i, c, smaller(c + chunk, sums.n_columns),
                                                prefetcher);
  return n;
}

template <class C, class W, class Y>
void path_sums(const PathSums<C>& sums, Prefetcher& prefetcher) {
  const int64_t n = sums.n_columns;
  int64_t i = sums.stream
                  ? sum_groups<C, W, Y, streamed_vectors<C>>(sums, prefetcher)
                  : sum_groups<C, W, Y, summed_vectors<C, summed_tokens<C>>>(sums, prefetcher);
  for (; i + 2 <= sums.n_tokens; i += 2)
    sum_columns<C, W, Y, 2, summed_vectors<C, 2>>(sums, i, 0, n, prefetcher);
  if (i < sums.n_tokens) sum_columns<C, W, Y, 1, summed_vectors<C, 1>>(sums, i, 0, n, prefetcher);
  if (sums.stream) Simd<C>::fence();
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
