// Plain C++: vectors are short arrays, which compilers map to whatever the target has.
#include "fff.h"

#define FFF_NAMESPACE portable

namespace fff {
namespace portable {

template <class T>
struct Simd {
  static constexpr int64_t width = 16 / sizeof(T);
  static constexpr int dot_rows = 2;
  static constexpr int block_vectors = 8;

  struct Vector {
    T v[width];
  };

  static Vector zero() { return broadcast(0); }
  static Vector broadcast(T s) {
    Vector r;
    for (int64_t i = 0; i < width; ++i) r.v[i] = s;
    return r;
  }
  static Vector load(const T* p) { return load(p, width); }
  static Vector load(const T* p, int64_t n) {
    Vector r;
    for (int64_t i = 0; i < width; ++i) r.v[i] = i < n ? p[i] : T(0);
    return r;
  }
  static void store(T* p, Vector a) { store(p, a, width); }
  static void store(T* p, Vector a, int64_t n) {
    for (int64_t i = 0; i < width; ++i)
      if (i < n) p[i] = a.v[i];
  }
  static void stream(T* p, Vector a) { store(p, a); }
  static void fence() {}
  static Vector add(Vector a, Vector b) {
    for (int64_t i = 0; i < width; ++i) a.v[i] += b.v[i];
    return a;
  }
  static Vector fma(Vector a, Vector b, Vector c) {
    for (int64_t i = 0; i < width; ++i) c.v[i] += a.v[i] * b.v[i];
    return c;
  }
  static T sum(Vector a) {
    T s = a.v[0];
    for (int64_t i = 1; i < width; ++i) s += a.v[i];
    return s;
  }
};

}  // namespace portable
}  // namespace fff

#include "kernels_impl.h"
