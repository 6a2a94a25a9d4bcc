// Rows to prefetch, in the order in which they will be read.
#pragma once

#include <cstdint>

// Prefetches a line into the L2 cache. Not into L1: on Zen 4 that halves the bandwidth, since fewer
// lines can be in flight.
#ifdef __GNUC__
#define FFF_PREFETCH(p) __builtin_prefetch(p, 0, 2)
#else
#define FFF_PREFETCH(p) (void)(p)
#endif

namespace fff {

// Whether prefetch instructions help on this processor (docs/kernels.md).
bool uses_prefetch();

// Rows to bring into the L2 cache while something else is computed, first in first out. Kernels
// prefetch them line by line between their multiplications: those needed soon at the pace of the
// multiplications, then those needed later at a pace that leaves memory time to answer.
class Prefetcher {
 public:
  const bool enabled = uses_prefetch();  // else nothing is queued or prefetched

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
  void prefetched_soon(const char* until) { soon_.advance(until); }
  void prefetched_later(const char* until) { later_.advance(until); }

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

}  // namespace fff
