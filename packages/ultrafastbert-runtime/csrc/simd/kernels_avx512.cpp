// AVX-512 (F, DQ, BW, VL).
#include <immintrin.h>

#include "core/fff.h"

#define FFF_NAMESPACE avx512

namespace fff {
namespace avx512 {
#include "simd_avx512.h"
}  // namespace avx512
}  // namespace fff

#include "kernels_impl.h"
