// The loops that machine.cpp times, compiled once per instruction set (FFF_NAMESPACE).
#include "machine_loops.h"

#include <cstring>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace fff {
namespace FFF_NAMESPACE {

#if defined(__AVX512F__)
#define FFF_VECTOR_BYTES 64
#elif defined(__AVX__)
#define FFF_VECTOR_BYTES 32
#else
#define FFF_VECTOR_BYTES 16
#endif

#if defined(__GNUC__)
typedef float Vector __attribute__((vector_size(FFF_VECTOR_BYTES)));
#else
typedef float Vector;
#endif
constexpr int64_t width = sizeof(Vector) / sizeof(float);

// Sums that do not wait for each other: two units that take 5 cycles are busy with 10.
constexpr int n_sums = 12;

int64_t fmas(int64_t n_turns, float* sink) {
  // Read at run time, or the compiler would compute the sums itself.
  const volatile float scale = 0.999f, shift = 1e-3f;
  const Vector a = Vector{} + scale, b = Vector{} + shift;
  Vector sums[n_sums];
  for (int s = 0; s < n_sums; ++s) sums[s] = Vector{} + static_cast<float>(s);
  for (int64_t turn = 0; turn < n_turns; ++turn)
    for (int s = 0; s < n_sums; ++s) sums[s] = sums[s] * a + b;
  for (int s = 1; s < n_sums; ++s) sums[0] += sums[s];
  std::memcpy(sink, &sums[0], sizeof(float));
  return n_turns * n_sums * width;
}

void read(const float* from, int64_t n, float* sink) {
  constexpr int64_t step = 8 * width;
  Vector sums[8] = {};
  for (int64_t i = 0; i + step <= n; i += step)
    for (int s = 0; s < 8; ++s) {
      Vector v;
      std::memcpy(&v, from + i + s * width, sizeof v);
      sums[s] += v;
    }
  for (int s = 1; s < 8; ++s) sums[0] += sums[s];
  std::memcpy(sink, &sums[0], sizeof(float));
}

void write(float* to, int64_t n) {
#if defined(__SSE2__)
  for (int64_t i = 0; i + 4 <= n; i += 4) _mm_stream_ps(to + i, _mm_setzero_ps());
  _mm_sfence();
#else
  std::memset(to, 0, n * sizeof(float));
#endif
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
