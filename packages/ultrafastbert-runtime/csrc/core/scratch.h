// Short-lived memory of a thread: taken in order, given back together.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace fff {

// Takes memory from the thread's own buffer, whose pages are warm, and gives it back at the end of
// its scope. Scopes nest. What does not fit the buffer comes from the heap.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // n values that are not initialised, aligned to 64 bytes.
  template <class V>
  V* take(int64_t n) {
    return static_cast<V*>(take_bytes(n * static_cast<int64_t>(sizeof(V))));
  }

 private:
  void* take_bytes(int64_t n);

  int64_t mark_;
  std::vector<std::unique_ptr<char[]>> from_heap_;
};

}  // namespace fff
