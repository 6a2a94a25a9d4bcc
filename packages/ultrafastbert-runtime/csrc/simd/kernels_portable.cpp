// Plain C++: vectors are short arrays, which compilers map to whatever the target has.
#include <string.h>

#include "core/fff.h"

#define FFF_NAMESPACE portable

namespace fff {
namespace portable {

template <class C>
struct Simd {
  static constexpr int64_t width = 16 / sizeof(C);
  static constexpr int n_registers = 16;

  struct Vector {
    C v[width];
  };

  static C number(C p) { return p; }
  static C number(int8_t p) { return p; }
  static C number(int16_t p) { return p; }
  static float number(bfloat16 p) {
    const uint32_t bits = uint32_t{p.bits} << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }

  static Vector zero() { return broadcast(0); }
  static Vector broadcast(C s) {
    Vector r;
    for (int64_t i = 0; i < width; ++i) r.v[i] = s;
    return r;
  }
  template <class N>
  static Vector load(const N* p) {
    Vector r;
    for (int64_t i = 0; i < width; ++i) r.v[i] = number(p[i]);
    return r;
  }
  static void store(C* p, Vector a) {
    for (int64_t i = 0; i < width; ++i) p[i] = a.v[i];
  }
  static void store(bfloat16* p, Vector a) {
    for (int64_t i = 0; i < width; ++i) {
      uint32_t bits;
      memcpy(&bits, &a.v[i], sizeof bits);
      const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
      p[i].bits = static_cast<uint16_t>(a.v[i] != a.v[i] ? 0x7fc0 : rounded);
    }
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
  static Vector add(Vector a, Vector b) {
    for (int64_t i = 0; i < width; ++i) a.v[i] += b.v[i];
    return a;
  }
  static Vector fma(Vector a, Vector b, Vector c) {
    for (int64_t i = 0; i < width; ++i) c.v[i] += a.v[i] * b.v[i];
    return c;
  }
  static void sum4(const Vector* v, C* out) {
    for (int r = 0; r < 4; ++r) {
      out[r] = v[r].v[0];
      for (int64_t i = 1; i < width; ++i) out[r] += v[r].v[i];
    }
  }
};

}  // namespace portable
}  // namespace fff

#include "kernels_impl.h"
