// AVX-512 with products of integers (VPDPWSSD).
#include <immintrin.h>
#include <string.h>

#include "core/fff.h"

#define FFF_NAMESPACE avx512_vnni

namespace fff {
namespace avx512_vnni {
#include "integers_avx512.h"
#include "simd_avx512.h"
}  // namespace avx512_vnni
}  // namespace fff

#define FFF_INTEGERS
#define FFF_PAIRS
#include "kernels_impl.h"
