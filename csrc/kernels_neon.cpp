// NEON on 64-bit Arm.
#include <arm_neon.h>

#include "fff.h"

#define FFF_NAMESPACE neon

namespace fff {
namespace neon {

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Vector = float32x4_t;
  static constexpr int64_t width = 4;
  static constexpr int dot_rows = 4;
  static constexpr int block_vectors = 16;

  static Vector zero() { return vdupq_n_f32(0); }
  static Vector broadcast(float s) { return vdupq_n_f32(s); }
  static Vector load(const float* p) { return vld1q_f32(p); }
  static Vector load(const float* p, int64_t n) {
    float copy[width] = {};
    for (int64_t i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
  }
  static void store(float* p, Vector a) { vst1q_f32(p, a); }
  static void store(float* p, Vector a, int64_t n) {
    float copy[width];
    store(copy, a);
    for (int64_t i = 0; i < n; ++i) p[i] = copy[i];
  }
  static void stream(float* p, Vector a) { store(p, a); }
  static void fence() {}
  static Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  static float sum(Vector a) { return vaddvq_f32(a); }
};

template <>
struct Simd<double> {
  using Vector = float64x2_t;
  static constexpr int64_t width = 2;
  static constexpr int dot_rows = 4;
  static constexpr int block_vectors = 16;

  static Vector zero() { return vdupq_n_f64(0); }
  static Vector broadcast(double s) { return vdupq_n_f64(s); }
  static Vector load(const double* p) { return vld1q_f64(p); }
  static Vector load(const double* p, int64_t n) {
    double copy[width] = {};
    for (int64_t i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
  }
  static void store(double* p, Vector a) { vst1q_f64(p, a); }
  static void store(double* p, Vector a, int64_t n) {
    double copy[width];
    store(copy, a);
    for (int64_t i = 0; i < n; ++i) p[i] = copy[i];
  }
  static void stream(double* p, Vector a) { store(p, a); }
  static void fence() {}
  static Vector add(Vector a, Vector b) { return vaddq_f64(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f64(c, a, b); }
  static double sum(Vector a) { return vaddvq_f64(a); }
};

}  // namespace neon
}  // namespace fff

#include "kernels_impl.h"
