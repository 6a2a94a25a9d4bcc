// Tokens in integers: 16 bits and a scale of each token, which int8 rows are multiplied with.
#pragma once

#include <math.h>
#include <string.h>

#include "dots.h"
#include "path_sums.h"
#include "vectors.h"

namespace fff {
namespace FFF_NAMESPACE {

inline float number(float x) { return x; }
inline float number(bfloat16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline int32_t bits_of(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class X>
float to_integers_from(int64_t n, const X* from, int16_t* __restrict to) {
  // Magnitudes are ordered as their bits are, with infinity and NaN at the top.
  int32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t magnitude = bits_of(number(from[i])) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  float largest;
  memcpy(&largest, &most, sizeof largest);
  if (!(largest <= 3.4028235e38f)) {
    for (int64_t i = 0; i < n; ++i) to[i] = 0;
    return NAN;
  }
  constexpr float most_steps = 1e37f;  // keeps both the scale and its inverse finite
  const float steps =
      largest_integer / largest < most_steps ? largest_integer / largest : most_steps;
  // 1.5 * 2^23: the sum's low bits are the number rounded to an integer.
  constexpr float shifter = 12582912;
  for (int64_t i = 0; i < n; ++i)
    to[i] = static_cast<int16_t>(bits_of(number(from[i]) * steps + shifter));
  return 1 / steps;
}

inline float to_integers(Type source, int64_t n, const void* from, int16_t* to) {
  return source == Type::bfloat16 ? to_integers_from(n, static_cast<const bfloat16*>(from), to)
                                  : to_integers_from(n, static_cast<const float*>(from), to);
}

#ifdef FFF_INTEGERS
// Dot products of n_tokens x n_rows. Sums in integers are exact, so tiles may have any shape.
template <int n_tokens, int n_rows>
inline void integer_tile(const Dots<float>& product, const int16_t* const* tokens,
                         const int8_t* const* rows, float* out, Prefetcher& prefetcher) {
  using S = Simd<float>;
  using P = IntegerProducts;
  constexpr int n_sums = n_tokens * n_rows, n_padded = (n_sums + 3) / 4 * 4;
  const int64_t n = product.n_columns, whole = n / P::width * P::width;
  typename P::Vector sum[n_sums];
  FFF_UNROLL
  for (int j = 0; j < n_sums; ++j) sum[j] = P::zero();
  const auto multiply = [&](const int16_t* const* x, const int8_t* const* w, int64_t at) {
    typename P::Vector row[n_rows];
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) row[r] = S::keep(P::load(w[r] + at));
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      const auto token = S::keep(P::load(x[t] + at));
      FFF_UNROLL
      for (int r = 0; r < n_rows; ++r)
        sum[t * n_rows + r] = P::fma(token, row[r], sum[t * n_rows + r]);
    }
  };
  for (int64_t i = 0; i < whole; i += P::width) {
    prefetch_lines(prefetcher, n_tokens + n_rows);
    multiply(tokens, rows, i);
  }
  if (whole < n) {
    const Padded<int16_t, n_tokens, P::width> last_tokens(tokens, whole, n);
    const Padded<int8_t, n_rows, P::width> last_rows(rows, whole, n);
    multiply(last_tokens.rows, last_rows.rows, 0);
  }
  typename S::Vector total[n_padded];
  float results[n_padded];
  FFF_UNROLL
  for (int j = 0; j < n_padded; ++j) total[j] = j < n_sums ? P::value(sum[j]) : S::zero();
  FFF_UNROLL
  for (int j = 0; j < n_padded; j += 4) S::sum4(total + j, results + j);
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    FFF_UNROLL
    for (int r = 0; r < n_rows; ++r) out[t * product.stride + r] = results[t * n_rows + r];
  }
}

template <int n_tokens, int n_rows>
inline void integer_rows(const Dots<float>& product, int64_t first, Prefetcher& prefetcher) {
  const int16_t* tokens[n_tokens];
  for (int t = 0; t < n_tokens; ++t)
    tokens[t] =
        static_cast<const int16_t*>(product.source) + product.tokens[first + t] * product.n_columns;
  const auto rows = reinterpret_cast<const int8_t* const*>(product.rows);
  float* out = product.out + first * product.stride;
  int64_t r = 0;
  for (; r + n_rows <= product.n_rows; r += n_rows)
    integer_tile<n_tokens, n_rows>(product, tokens, rows + r, out + r, prefetcher);
  for (; r < product.n_rows; ++r)
    integer_tile<n_tokens, 1>(product, tokens, rows + r, out + r, prefetcher);
}

// All tokens have the same rows.
inline void integer_dots(const Dots<float>& product, Prefetcher& prefetcher) {
  constexpr int n_rows = many_registers<float> ? 4 : 2;
  int64_t i = 0;
  for (; i + 4 <= product.n_tokens; i += 4) integer_rows<4, n_rows>(product, i, prefetcher);
  const int64_t n_left = product.n_tokens - i;
  if (n_left == 3) integer_rows<3, n_rows>(product, i, prefetcher);
  if (n_left == 2) integer_rows<2, 2 * n_rows>(product, i, prefetcher);
  if (n_left == 1) integer_rows<1, 2 * n_rows>(product, i, prefetcher);
}
#define FFF_INTEGER_DOTS integer_dots
#else
#define FFF_INTEGER_DOTS dots<float, int16_t, int8_t>
#endif

#ifdef FFF_PAIRS

// n_vectors vectors of pairs of IntegerProducts::width columns each, of tokens that share all rows.
template <class Y, int n_tokens, int n_vectors, bool partial>
inline void integer_sum_tile(const IntegerSums& sums, int64_t first, int64_t column, int64_t n_last,
                             Prefetcher& prefetcher) {
  using S = Simd<float>;
  using P = IntegerProducts;
  const PathSums<float>& of = sums.of;
  typename P::Vector sum[n_tokens][n_vectors][2];
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) sum[t][v][0] = sum[t][v][1] = P::zero();
  }
  const int8_t* const* rows = reinterpret_cast<const int8_t* const*>(of.rows) + first * of.n_rows;
  const int16_t* numbers = sums.number + first * of.stride;
  for (int64_t r = 0; r < of.n_rows; r += 2) {
    prefetch_lines(prefetcher, lines_at_once);
    // The number after the last is 0.
    const int8_t *one = rows[r] + column, *other = rows[r + 1 < of.n_rows ? r + 1 : r] + column;
    typename P::Vector factor[n_tokens];
    FFF_UNROLL
    for (int t = 0; t < n_tokens; ++t) factor[t] = P::broadcast(numbers + t * of.stride + r);
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      typename P::Vector pair[2];
      if (partial)
        P::load_part(one, other, n_last, pair);
      else
        P::load(one + v * P::width, other + v * P::width, pair);
      FFF_UNROLL
      for (int t = 0; t < n_tokens; ++t) {
        sum[t][v][0] = P::fma(factor[t], pair[0], sum[t][v][0]);
        sum[t][v][1] = P::fma(factor[t], pair[1], sum[t][v][1]);
      }
    }
  }
  Y* out[n_tokens];
  find_outputs<float>(of, first, column, out);
  FFF_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    const auto scale = S::broadcast(sums.scale[first + t]);
    FFF_UNROLL
    for (int v = 0; v < n_vectors; ++v) {
      typename S::Vector value[2];
      P::values(sum[t][v], value);
      FFF_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int64_t at = v * P::width + half * S::width, n = partial ? n_last - at : S::width;
        if (n <= 0) continue;
        Y* to = out[t] + at;
        const bool whole = n >= S::width;
        const auto before = !of.add ? S::zero() : whole ? S::load(to) : load_part<float>(to, n);
        const auto after = S::fma(scale, value[half], before);
        if (!whole)
          store_part<float>(to, after, n);
        else if (of.stream)
          S::stream(to, after);
        else
          S::store(to, after);
      }
    }
  }
}

template <class Y, int n_tokens, int n_vectors>
inline void integer_sum_columns(const IntegerSums& sums, int64_t first, Prefetcher& prefetcher) {
  constexpr int64_t w = IntegerProducts::width;
  const int64_t n = sums.of.n_columns;
  int64_t c = 0;
  for (; c + n_vectors * w <= n; c += n_vectors * w)
    integer_sum_tile<Y, n_tokens, n_vectors, false>(sums, first, c, w, prefetcher);
  for (; c + w <= n; c += w) integer_sum_tile<Y, n_tokens, 1, false>(sums, first, c, w, prefetcher);
  if (c < n) integer_sum_tile<Y, n_tokens, 1, true>(sums, first, c, n - c, prefetcher);
}

template <class Y>
void integer_sums_to(const IntegerSums& sums, Prefetcher& prefetcher) {
  const PathSums<float>& of = sums.of;
  const void* const* last = of.rows + of.n_rows - 1;
  for (int64_t i = 0, end; i < of.n_tokens; i = end) {
    for (end = i + 1; end < of.n_tokens && last[end * of.n_rows] == last[i * of.n_rows]; ++end) {
    }
    for (; i + 4 <= end; i += 4) integer_sum_columns<Y, 4, 2>(sums, i, prefetcher);
    if (i + 3 <= end) integer_sum_columns<Y, 3, 3>(sums, i, prefetcher), i += 3;
    if (i + 2 <= end) integer_sum_columns<Y, 2, 4>(sums, i, prefetcher), i += 2;
    if (i < end) integer_sum_columns<Y, 1, 6>(sums, i, prefetcher);
  }
  if (of.stream) Simd<float>::fence();
}

inline void integer_sums(const IntegerSums& sums, Type out, Prefetcher& prefetcher) {
  if (out == Type::bfloat16)
    integer_sums_to<bfloat16>(sums, prefetcher);
  else
    integer_sums_to<float>(sums, prefetcher);
}
#define FFF_INTEGER_SUMS integer_sums
#else
#define FFF_INTEGER_SUMS nullptr
#endif

}  // namespace FFF_NAMESPACE
}  // namespace fff
