// Products of integers by AVX-512: 16 bits times 16, summed in pairs in 32. Included within the
// namespace of an instruction set.

struct IntegerProducts {
  using Vector = __m512i;
  static constexpr int64_t width = 32;

  static Vector zero() { return _mm512_setzero_si512(); }
  static Vector load(const int16_t* p) { return _mm512_loadu_si512(p); }
  static Vector load(const int8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vector fma(Vector x, Vector w, Vector sum) {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(sum, x, w);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
#endif
  }
  static __m512 value(Vector sum) { return _mm512_cvtepi32_ps(sum); }

  // Pairs of columns: of two rows, and the same pair of numbers everywhere.
  static Vector broadcast(const int16_t* pair) {
    int32_t both;
    memcpy(&both, pair, sizeof both);
    return _mm512_set1_epi32(both);
  }
  static void zip(__m256i one, __m256i other, Vector (&pairs)[2]) {
    const Vector a = _mm512_cvtepi8_epi16(one), b = _mm512_cvtepi8_epi16(other);
    pairs[0] = _mm512_unpacklo_epi16(a, b);
    pairs[1] = _mm512_unpackhi_epi16(a, b);
  }
  static void load(const int8_t* one, const int8_t* other, Vector (&pairs)[2]) {
    zip(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(one)),
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(other)), pairs);
  }
  static void load_part(const int8_t* one, const int8_t* other, int64_t n, Vector (&pairs)[2]) {
    const __mmask32 mask = (uint32_t{1} << n) - 1;
    zip(_mm256_maskz_loadu_epi8(mask, one), _mm256_maskz_loadu_epi8(mask, other), pairs);
  }
  // Sums of pairs have their columns in alternate fours; back in order.
  static void values(const Vector (&sum)[2], __m512 (&value)[2]) {
    const Vector lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const Vector upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    value[0] = _mm512_cvtepi32_ps(_mm512_permutex2var_epi64(sum[0], lower, sum[1]));
    value[1] = _mm512_cvtepi32_ps(_mm512_permutex2var_epi64(sum[0], upper, sum[1]));
  }
};
