#include "sorting.h"

#include <algorithm>
#include <numeric>

#include "scratch.h"

namespace fff {
namespace {

// Bits told apart in one pass: their counters fit the L1 cache.
constexpr int64_t bits_per_pass = 11;

}  // namespace

void sort_by(const int32_t* place, int64_t n_bits, int32_t first, int32_t* order, int32_t n) {
  if (n < 2) return;
  Scratch scratch;
  int32_t* sorted = scratch.take<int32_t>(n);
  for (int64_t shift = 0; shift < n_bits; shift += bits_per_pass) {
    const int64_t n_keys = int64_t{1} << std::min(bits_per_pass, n_bits - shift);
    const auto key = [&](int32_t t) { return ((place[t] - first) >> shift) & (n_keys - 1); };
    int32_t* start = scratch.take<int32_t>(n_keys + 1);
    std::fill_n(start, n_keys + 1, 0);
    for (int32_t i = 0; i < n; ++i) ++start[key(order[i]) + 1];
    std::partial_sum(start, start + n_keys + 1, start);
    for (int32_t i = 0; i < n; ++i) sorted[start[key(order[i])]++] = order[i];
    std::copy_n(sorted, n, order);
  }
}

}  // namespace fff
