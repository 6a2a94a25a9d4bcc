// NEON on 64-bit Arm.
#include <arm_neon.h>
#include <string.h>

#include "core/fff.h"

#define FFF_NAMESPACE neon

namespace fff {
namespace neon {

template <class C>
struct Simd;

template <>
struct Simd<float> {
  using Vector = float32x4_t;
  static constexpr int64_t width = 4;
  static constexpr int n_registers = 32;

  static Vector zero() { return vdupq_n_f32(0); }
  static Vector broadcast(float s) { return vdupq_n_f32(s); }
  static Vector load(const float* p) { return vld1q_f32(p); }
  static Vector load(const bfloat16* p) {
    const uint16x4_t bits = vld1_u16(reinterpret_cast<const uint16_t*>(p));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
  }
  static Vector load(const int8_t* p) {
    int8_t bytes[8] = {};
    memcpy(bytes, p, width);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes)))));
  }
  static Vector load(const int16_t* p) { return vcvtq_f32_s32(vmovl_s16(vld1_s16(p))); }
  static void store(float* p, Vector a) { vst1q_f32(p, a); }
  static void store(bfloat16* p, Vector a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t result = vbslq_u32(vceqq_f32(a, a), rounded, vdupq_n_u32(0x7fc00000));
    vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(result, 16));
  }
  template <class Y>
  static void stream(Y* p, Vector a) {
    store(p, a);
  }
  template <class V>
  static V keep(V v) {
    return v;
  }
  static void fence() {}
  static Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static void sum4(const Vector* v, float* out) {
    store(out, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
  }
};

template <>
struct Simd<double> {
  using Vector = float64x2_t;
  static constexpr int64_t width = 2;
  static constexpr int n_registers = 32;

  static Vector zero() { return vdupq_n_f64(0); }
  static Vector broadcast(double s) { return vdupq_n_f64(s); }
  static Vector load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, Vector a) { vst1q_f64(p, a); }
  static void stream(double* p, Vector a) { store(p, a); }
  template <class V>
  static V keep(V v) {
    return v;
  }
  static void fence() {}
  static Vector add(Vector a, Vector b) { return vaddq_f64(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f64(c, a, b); }
  static void sum4(const Vector* v, double* out) {
    store(out, vpaddq_f64(v[0], v[1]));
    store(out + 2, vpaddq_f64(v[2], v[3]));
  }
};

}  // namespace neon
}  // namespace fff

#include "kernels_impl.h"
