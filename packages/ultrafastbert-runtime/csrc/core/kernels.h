// The inner loops, compiled once per instruction set: what forward.cpp and backward.cpp call
// through a table of functions.
#pragma once

#include <cstdint>

#include "fff.h"
#include "prefetch.h"

namespace fff {

// Dot products of tokens with rows: out[i * stride + r] = source[tokens[i]] . rows[i * row_stride +
// r]. A row_stride of 0 gives all tokens the same rows. Else rows are those of paths, from the root
// down: tokens that share a row share all before it.
template <class C>
struct Dots {
  const void* source;  // (., n_columns), indexed by `tokens`
  int64_t n_columns;
  const int32_t* tokens;
  int64_t n_tokens;
  const void* const* rows;
  int64_t row_stride;
  int64_t n_rows;
  C* out;
  int64_t stride;
};

// Sums of rows: out[tokens[i]] (+)= sum over r of coefficient[i * stride + r] * rows[i * n_rows +
// r]. Rows are those of paths, from the root down: tokens that share a row share all before it.
template <class C>
struct PathSums {
  const void* const* rows;
  int64_t n_rows;
  int64_t n_columns;
  const C* coefficient;
  int64_t stride;
  const int32_t* tokens;
  int64_t n_tokens;
  void* out;  // (., n_columns), indexed by `tokens`
  bool add;
  bool stream;  // non-temporal stores; needs rows aligned to 64 bytes
};

// As PathSums of int8 rows, for tokens that share their last row with their neighbours mostly.
// Token i's coefficient of row r is number[i * stride + r] * scale[i].
struct IntegerSums {
  PathSums<float> of;  // without coefficients
  const int16_t* number;
  const float* scale;
};

// The sum over tokens begin..end - 1, sorted by leaf, of coefficient * source row, into the rows on
// their paths. It goes on with a segment of tokens that starts at segment_begin. Rows that tokens
// before the segment visit too are those of its first token on the first n_shared levels (the leaf
// is level D); their sums go to `shared` instead.
template <class C>
struct RowSums {
  const Shape* shape;
  const int32_t* token;  // (T) tokens sorted by leaf
  const int32_t* leaf;   // (T) their leaves
  int64_t segment_begin, begin, end;
  const C* coefficient;  // (T, S), by token
  const void* source;    // (T, n_columns), by token
  int64_t n_columns;
  bool stream;  // non-temporal stores where possible
  C* sums;      // (R, n_columns); rows not on any path are left alone
  int64_t n_shared;
  C* shared;  // (S, n_columns)
};

// Integers of a row: the largest one has this magnitude.
constexpr float largest_integer = 32767;
// Products of these with int8 that fit the sum of a dot product, or of rows, in 32 bits.
constexpr int64_t most_integer_columns = 8192, most_integer_rows = 512;

// Functions take the types of tokens and of rows; a null pointer is returned for types that do not
// go together, or where the instruction set has no such function.
template <class C>
struct Kernels {
  using DotsFunction = void (*)(const Dots<C>&, Prefetcher&);
  using PathSumsFunction = void (*)(const PathSums<C>&, Prefetcher&);
  using RowSumsFunction = void (*)(const RowSums<C>&);

  DotsFunction (*dots)(Type source, Type rows);
  PathSumsFunction (*path_sums)(Type rows, Type out);
  RowSumsFunction (*row_sums)(Type source);
  // z (n) -> act(z) and, unless slope is null, act'(z)
  void (*activate)(Activation activation, int64_t n, const C* z, C* value, C* slope);
  // n numbers, rounded to nearest even
  void (*to_bfloat16)(int64_t n, const C* from, bfloat16* to);
  // dot products of integers with int8 rows
  DotsFunction integer_dots;
  void (*integer_sums)(const IntegerSums&, Type out, Prefetcher&);
  // n numbers, float32 or bfloat16, to integers times a scale, which is returned: NaN if one of the
  // numbers is NaN or infinite
  float (*to_integers)(Type source, int64_t n, const void* from, int16_t* to);
};

// The table of the instruction set in use.
template <class C>
const Kernels<C>& kernels();

}  // namespace fff
