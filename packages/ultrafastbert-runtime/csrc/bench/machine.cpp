#include "machine.h"

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "core/fff.h"
#include "machine_loops.h"

namespace fff {
namespace {

struct Loops {
  int64_t (*fmas)(int64_t n_turns, float* sink);
  void (*read)(const float* from, int64_t n, float* sink);
  void (*write)(float* to, int64_t n);
};

#define FFF_LOOPS(name) \
  Loops { name::fmas, name::read, name::write }

Loops loops() {
#ifdef FFF_HAS_X86
  if (instruction_set().rfind("avx512", 0) == 0) return FFF_LOOPS(avx512);
  if (instruction_set() == "avx2") return FFF_LOOPS(avx2);
#endif
#ifdef FFF_HAS_NEON
  if (instruction_set() == "neon") return FFF_LOOPS(neon);
#endif
  return FFF_LOOPS(portable);
}

// Runs something that returns its units of work until the time is over; units per second.
template <class Work>
double rate(double seconds, Work work) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  double done = 0, elapsed = 0;
  while (elapsed < seconds) {
    done += work();
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return done / elapsed;
}

struct Buffer {
  explicit Buffer(int64_t n_bytes) {
    if (n_bytes < 4096)
      throw std::invalid_argument("n_bytes=" + std::to_string(n_bytes) + " must be at least 4096");
    n = n_bytes / sizeof(float);
    owner.reset(new float[n + alignment]);
    const auto address = reinterpret_cast<std::uintptr_t>(owner.get());
    const std::uintptr_t line = alignment * sizeof(float);
    data = reinterpret_cast<float*>((address + line - 1) / line * line);
    for (int64_t i = 0; i < n; ++i) data[i] = 1;  // untouched pages would be one page of zeros
  }
  static constexpr int64_t alignment = 1024;  // of a page
  int64_t n;
  std::unique_ptr<float[]> owner;
  float* data;
};

// Long enough that the clock is not what is measured.
const int64_t turns = 1 << 14;
const int64_t bytes_at_once = 1 << 20;

volatile float ignored;

}  // namespace

double fma_rate(double seconds) {
  const Loops loop = loops();
  float sink;
  const double found = rate(seconds, [&] { return static_cast<double>(loop.fmas(turns, &sink)); });
  ignored = sink;
  return found;
}

double read_rate(int64_t n_bytes, double seconds) {
  const Loops loop = loops();
  const Buffer buffer(n_bytes);
  const int64_t repeats = bytes_at_once / n_bytes + 1;
  float sink;
  const double found = rate(seconds, [&] {
    for (int64_t i = 0; i < repeats; ++i) {
      loop.read(buffer.data, buffer.n, &sink);
      ignored = sink;
    }
    return static_cast<double>(repeats * buffer.n * sizeof(float));
  });
  return found;
}

double write_rate(int64_t n_bytes, double seconds) {
  const Loops loop = loops();
  const Buffer buffer(n_bytes);
  return rate(seconds, [&] {
    loop.write(buffer.data, buffer.n);
    return static_cast<double>(buffer.n * sizeof(float));
  });
}

}  // namespace fff
