// AVX-512 with products of bfloat16 (VDPBF16PS): tokens and rows both in bfloat16 are multiplied
// in pairs, twice as many at once. These products take denormals for zero.
#include <immintrin.h>
#include <string.h>

#include "core/fff.h"

#define FFF_NAMESPACE avx512_bf16

namespace fff {
namespace avx512_bf16 {
#include "integers_avx512.h"
#include "simd_avx512.h"
}  // namespace avx512_bf16
}  // namespace fff

#define FFF_PRODUCTS                                                                            \
  template <>                                                                                   \
  struct Product<float, bfloat16, bfloat16> {                                                   \
    using Operand = __m512bh;                                                                   \
    static constexpr int64_t width = 32;                                                        \
    static Operand load(const bfloat16* p) {                                                    \
      return reinterpret_cast<Operand>(_mm512_loadu_si512(p));                                  \
    }                                                                                           \
    static __m512 fma(Operand x, Operand w, __m512 sum) { return _mm512_dpbf16_ps(sum, x, w); } \
  };

#define FFF_INTEGERS
#define FFF_PAIRS
#include "kernels_impl.h"
