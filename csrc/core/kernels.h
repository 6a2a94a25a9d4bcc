// The inner loops, compiled once per instruction set: what forward.cpp and backward.cpp call
// through a table of functions.
#pragma once

#include <cstdint>

#include "fff.h"

// Fetches a line into the second-level cache. Not into the first: on Zen 4 that halves the
// bandwidth, since fewer lines can be under way.
#ifdef __GNUC__
#define FFF_PREFETCH(p) __builtin_prefetch(p, 0, 2)
#else
#define FFF_PREFETCH(p) (void)(p)
#endif

namespace fff {

// Whether rows are fetched ahead of use on this processor (docs/kernels.md).
bool fetches_ahead();

// Rows to bring into the second-level cache while something else is computed, first in first out.
// Kernels fetch them line by line between their multiplications: those needed soon at the pace of
// the multiplications, then those needed later at a pace that leaves memory time to answer.
class FetchAhead {
 public:
  const bool enabled = fetches_ahead();  // else nothing is remembered, and nothing fetched

  struct Row {
    const char *at, *last;
  };

  void push(const void* row, int64_t bytes) {
    if (enabled) soon_.push(row, bytes);
  }
  void push_for_later(const void* row, int64_t bytes) {
    if (enabled) later_.push(row, bytes);
  }

  Row soon() { return soon_.front(); }
  Row later() { return later_.front(); }
  void fetched_soon(const char* until) { soon_.advance(until); }
  void fetched_later(const char* until) { later_.advance(until); }

 private:
  class Queue {
   public:
    void push(const void* row, int64_t bytes) {
      if (end_ - begin_ == capacity) return;  // the row is read all the same, only later
      const char* at = static_cast<const char*>(row);
      rows_[end_++ % capacity] = {at, at + bytes};
    }
    Row front() const { return begin_ == end_ ? Row{nullptr, nullptr} : rows_[begin_ % capacity]; }
    void advance(const char* until) {
      Row& row = rows_[begin_ % capacity];
      row.at = until;
      if (until >= row.last) ++begin_;
    }

   private:
    static constexpr uint32_t capacity = 256;
    uint32_t begin_ = 0, end_ = 0;
    Row rows_[capacity];
  };

  Queue soon_, later_;
};

// Dot products of tokens with rows: out[i * stride + r] = source[tokens[i]] . rows[i * row_stride + r].
// A row_stride of 0 gives all tokens the same rows. Else rows are those of paths, from the root down:
// tokens that share a row share all before it.
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

// Sums of rows: out[tokens[i]] (+)= sum over r of coefficient[i * stride + r] * rows[i * n_rows + r].
// Rows are those of paths, from the root down: tokens that share a row share all before it.
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
  bool stream;  // write around the cache; needs rows aligned to 64 bytes
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
  bool stream;           // write around the cache where possible
  C* sums;               // (R, n_columns); rows not on any path are left alone
  int64_t n_shared;
  C* shared;             // (S, n_columns)
};

// Functions take the types of tokens and of rows; a null pointer is returned for types that do not
// go together.
template <class C>
struct Kernels {
  using DotsFunction = void (*)(const Dots<C>&, FetchAhead&);
  using PathSumsFunction = void (*)(const PathSums<C>&, FetchAhead&);
  using RowSumsFunction = void (*)(const RowSums<C>&);

  DotsFunction (*dots)(Type source, Type rows);
  PathSumsFunction (*path_sums)(Type rows, Type out);
  RowSumsFunction (*row_sums)(Type source);
  // z (n) -> act(z) and, unless slope is null, act'(z)
  void (*activate)(Activation activation, int64_t n, const C* z, C* value, C* slope);
  // n numbers, rounded to nearest even
  void (*to_bfloat16)(int64_t n, const C* from, bfloat16* to);
};

// The table of the instruction set in use.
template <class C>
const Kernels<C>& kernels();

}  // namespace fff
