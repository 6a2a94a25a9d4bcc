// Vectors of AVX-512 (F, DQ, BW, VL). Included within the namespace of an instruction set.

template <class C>
struct Simd;

template <>
struct Simd<float> {
  using Vector = __m512;
  static constexpr int64_t width = 16;
  static constexpr int n_registers = 32;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector broadcast(float s) { return _mm512_set1_ps(s); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static Vector load(const bfloat16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Vector load(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  static void store(float* p, Vector a) { _mm512_storeu_ps(p, a); }
  static void store(bfloat16* p, Vector a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    const __m512i result = _mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(result));
  }
  static void stream(float* p, Vector a) { _mm512_stream_ps(p, a); }
  static void stream(bfloat16* p, Vector a) { store(p, a); }
  template <class V>
  static V keep(V v) {
#ifdef __GNUC__
    __asm__("" : "+v"(v));
#endif
    return v;
  }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static void sum4(const Vector* v, float* out) {
    const Vector ab = add(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const Vector cd = add(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const __m512d lo = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d hi = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const Vector abcd = add(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi));
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
};

template <>
struct Simd<double> {
  using Vector = __m512d;
  static constexpr int64_t width = 8;
  static constexpr int n_registers = 32;

  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector broadcast(double s) { return _mm512_set1_pd(s); }
  static Vector load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, Vector a) { _mm512_storeu_pd(p, a); }
  static void stream(double* p, Vector a) { _mm512_stream_pd(p, a); }
  template <class V>
  static V keep(V v) {
#ifdef __GNUC__
    __asm__("" : "+v"(v));
#endif
    return v;
  }
  static void fence() { _mm_sfence(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  static void sum4(const Vector* v, double* out) {
    for (int i = 0; i < 4; ++i) out[i] = _mm512_reduce_add_pd(v[i]);
  }
};
