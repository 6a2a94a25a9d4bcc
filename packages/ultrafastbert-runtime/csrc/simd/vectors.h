// What all loops over vectors share: how they are unrolled, what fits the registers, vectors in
// part, and the pace of prefetches.
#pragma once

#include "core/kernels.h"
#include "core/prefetch.h"

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

// Rows multiplied at once: a node and its two children.
constexpr int tile_rows = 3;
// Registers that hold sums; the others hold operands.
template <class C>
constexpr int most_sums = Simd<C>::n_registers * 3 / 4;
template <class C>
constexpr bool many_registers = Simd<C>::n_registers >= 32;
constexpr int64_t line_bytes = 64;

template <class N>
inline N smaller(N a, N b) {
  return a < b ? a : b;
}

// Cache lines prefetched at a time while memory is busy.
constexpr int lines_at_once = 4;

// Prefetches up to n lines of the next row.
inline void prefetch_lines(Prefetcher& prefetcher, int n) {
  if (!prefetcher.enabled) return;
  Prefetcher::Row row = prefetcher.soon();
  const bool soon = row.at != nullptr;
  if (!soon) {
    row = prefetcher.later();
    if (row.at == nullptr) return;
    n = smaller(n, lines_at_once);
  }
  const char* until = row.last - row.at > n * line_bytes ? row.at + n * line_bytes : row.last;
  for (; row.at < until; row.at += line_bytes) FFF_PREFETCH(row.at);
  if (soon)
    prefetcher.prefetched_soon(until);
  else
    prefetcher.prefetched_later(until);
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

}  // namespace FFF_NAMESPACE
}  // namespace fff
