#include "scratch.h"

namespace fff {
namespace {

// Enough for the chunks of tokens that a thread computes at once.
constexpr int64_t buffer_bytes = int64_t{2} << 20;
constexpr int64_t alignment = 64;

struct Buffer {
  std::unique_ptr<char[]> memory;
  int64_t used = 0;
};

Buffer& buffer() {
  static thread_local Buffer own;
  return own;
}

char* aligned(char* p) {
  return p + (alignment - reinterpret_cast<uintptr_t>(p) % alignment) % alignment;
}

}  // namespace

Scratch::Scratch() : mark_(buffer().used) {}

Scratch::~Scratch() { buffer().used = mark_; }

void* Scratch::take_bytes(int64_t n) {
  Buffer& own = buffer();
  if (!own.memory) own.memory.reset(new char[buffer_bytes + alignment]);
  n = (n + alignment - 1) / alignment * alignment;
  if (own.used + n <= buffer_bytes) {
    char* p = aligned(own.memory.get()) + own.used;
    own.used += n;
    return p;
  }
  from_heap_.emplace_back(new char[n + alignment]);
  return aligned(from_heap_.back().get());
}

}  // namespace fff
