// AVX2 with FMA.
#include <immintrin.h>

#include "core/fff.h"

#define FFF_NAMESPACE avx2

namespace fff {
namespace avx2 {

template <class C>
struct Simd;

template <>
struct Simd<float> {
  using Vector = __m256;
  static constexpr int64_t width = 8;
  static constexpr int n_registers = 16;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector broadcast(float s) { return _mm256_set1_ps(s); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static Vector load(const bfloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static Vector load(const int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  static void store(float* p, Vector a) { _mm256_storeu_ps(p, a); }
  static void store(bfloat16* p, Vector a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i result = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), is_nan);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
  static void stream(float* p, Vector a) { _mm256_stream_ps(p, a); }
  static void stream(bfloat16* p, Vector a) { store(p, a); }
  template <class V>
  static V keep(V v) {
#ifdef __GNUC__
    __asm__("" : "+x"(v));
#endif
    return v;
  }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static void sum4(const Vector* v, float* out) {
    const Vector abcd = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
  }
};

template <>
struct Simd<double> {
  using Vector = __m256d;
  static constexpr int64_t width = 4;
  static constexpr int n_registers = 16;

  static Vector zero() { return _mm256_setzero_pd(); }
  static Vector broadcast(double s) { return _mm256_set1_pd(s); }
  static Vector load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, Vector a) { _mm256_storeu_pd(p, a); }
  static void stream(double* p, Vector a) { _mm256_stream_pd(p, a); }
  template <class V>
  static V keep(V v) {
#ifdef __GNUC__
    __asm__("" : "+x"(v));
#endif
    return v;
  }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm256_add_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
  static void sum4(const Vector* v, double* out) {
    for (int i = 0; i < 4; ++i) {
      const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v[i]), _mm256_extractf128_pd(v[i], 1));
      out[i] = _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
    }
  }
};

// Products of integers: 16 bits times 16, summed in pairs in 32.
struct IntegerProducts {
  using Vector = __m256i;
  static constexpr int64_t width = 16;

  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector load(const int16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Vector load(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Vector fma(Vector x, Vector w, Vector sum) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
  }
  static __m256 value(Vector sum) { return _mm256_cvtepi32_ps(sum); }
};

}  // namespace avx2
}  // namespace fff

#define FFF_INTEGERS
#include "kernels_impl.h"
