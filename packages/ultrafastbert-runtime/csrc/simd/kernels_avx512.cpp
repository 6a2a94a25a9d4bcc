// AVX-512 (F, DQ, BW, VL).
#include <immintrin.h>
#include <string.h>

#include "core/fff.h"

#define FFF_NAMESPACE avx512

namespace fff {
namespace avx512 {
#include "integers_avx512.h"
#include "simd_avx512.h"
}  // namespace avx512
}  // namespace fff

#define FFF_INTEGERS
#define FFF_PAIRS
#include "kernels_impl.h"
