// AVX-512 (F, DQ, BW, VL).
#include <immintrin.h>

#include "fff.h"

#define FFF_NAMESPACE avx512

namespace fff {
namespace avx512 {

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Vector = __m512;
  static constexpr int64_t width = 16;
  static constexpr int dot_rows = 4;
  static constexpr int block_vectors = 8;

  static __mmask16 mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector broadcast(float s) { return _mm512_set1_ps(s); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static Vector load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static void store(float* p, Vector a) { _mm512_storeu_ps(p, a); }
  static void store(float* p, Vector a, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), a); }
  static void stream(float* p, Vector a) { _mm512_stream_ps(p, a); }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Vector a) { return _mm512_reduce_add_ps(a); }
};

template <>
struct Simd<double> {
  using Vector = __m512d;
  static constexpr int64_t width = 8;
  static constexpr int dot_rows = 4;
  static constexpr int block_vectors = 8;

  static __mmask8 mask(int64_t n) { return static_cast<__mmask8>((1u << n) - 1); }
  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector broadcast(double s) { return _mm512_set1_pd(s); }
  static Vector load(const double* p) { return _mm512_loadu_pd(p); }
  static Vector load(const double* p, int64_t n) { return _mm512_maskz_loadu_pd(mask(n), p); }
  static void store(double* p, Vector a) { _mm512_storeu_pd(p, a); }
  static void store(double* p, Vector a, int64_t n) { _mm512_mask_storeu_pd(p, mask(n), a); }
  static void stream(double* p, Vector a) { _mm512_stream_pd(p, a); }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  static double sum(Vector a) { return _mm512_reduce_add_pd(a); }
};

}  // namespace avx512
}  // namespace fff

#include "kernels_impl.h"
