// AVX2 with FMA.
#include <immintrin.h>

#include "fff.h"

#define FFF_NAMESPACE avx2

namespace fff {
namespace avx2 {

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Vector = __m256;
  static constexpr int64_t width = 8;
  static constexpr int dot_rows = 2;
  static constexpr int block_vectors = 8;

  static __m256i mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector broadcast(float s) { return _mm256_set1_ps(s); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static Vector load(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store(float* p, Vector a) { _mm256_storeu_ps(p, a); }
  static void store(float* p, Vector a, int64_t n) { _mm256_maskstore_ps(p, mask(n), a); }
  static void stream(float* p, Vector a) { _mm256_stream_ps(p, a); }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static float sum(Vector a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
};

template <>
struct Simd<double> {
  using Vector = __m256d;
  static constexpr int64_t width = 4;
  static constexpr int dot_rows = 2;
  static constexpr int block_vectors = 8;

  static __m256i mask(int64_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static Vector zero() { return _mm256_setzero_pd(); }
  static Vector broadcast(double s) { return _mm256_set1_pd(s); }
  static Vector load(const double* p) { return _mm256_loadu_pd(p); }
  static Vector load(const double* p, int64_t n) { return _mm256_maskload_pd(p, mask(n)); }
  static void store(double* p, Vector a) { _mm256_storeu_pd(p, a); }
  static void store(double* p, Vector a, int64_t n) { _mm256_maskstore_pd(p, mask(n), a); }
  static void stream(double* p, Vector a) { _mm256_stream_pd(p, a); }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
  static double sum(Vector a) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
  }
};

}  // namespace avx2
}  // namespace fff

#include "kernels_impl.h"
