// The inner loops over a SIMD type. Included once per instruction set by a file that first defines,
// in its own namespace FFF_NAMESPACE, Simd<float> and Simd<double>:
//
//     Vector, width, zero(), load(p), store(p, v), broadcast(s), add(a, b), fma(a, b, c)
//     load(p) also from bfloat16, int8 and int16 and store(p, v) also to bfloat16, for float
//     sum4(v, out): the sums of four vectors, each added up in the same order
//     stream(p, v): a non-temporal store to an aligned address; fence(): makes those visible to
//     other threads
//     keep(v): v in a register
//     n_registers: vectors that registers hold
//
// No template of the standard library may be used here: the linker keeps one copy of it, and that
// copy might use instructions which the processor lacks.
#include "activations.h"
#include "dots.h"
#include "integers.h"
#include "path_sums.h"
#include "row_sums.h"
#include "vectors.h"

namespace fff {
namespace FFF_NAMESPACE {

template <class C>
void to_bfloat16(int64_t n, const C* from, bfloat16* to) {
  int64_t i = 0;
  if constexpr (sizeof(C) == sizeof(float)) {
    for (; i + Simd<C>::width <= n; i += Simd<C>::width)
      Simd<C>::store(to + i, Simd<C>::load(from + i));
    if (i < n) store_part<C>(to + i, load_part<C>(from + i, n - i), n - i);
  }
}

template <class X>
typename Kernels<float>::DotsFunction float_dots(Type rows) {
  switch (rows) {
    case Type::float32: return dots<float, X, float>;
    case Type::bfloat16: return dots<float, X, bfloat16>;
    case Type::int8: return dots<float, X, int8_t>;
    default: return nullptr;
  }
}

template <class W>
typename Kernels<float>::PathSumsFunction float_path_sums(Type out) {
  return out == Type::bfloat16 ? path_sums<float, W, bfloat16> : path_sums<float, W, float>;
}

template <class C>
Kernels<C> table();

template <>
Kernels<float> table<float>() {
  return {[](Type source, Type rows) {
            return source == Type::bfloat16 ? float_dots<bfloat16>(rows) : float_dots<float>(rows);
          },
          [](Type rows, Type out) -> Kernels<float>::PathSumsFunction {
            switch (rows) {
              case Type::float32: return float_path_sums<float>(out);
              case Type::bfloat16: return float_path_sums<bfloat16>(out);
              case Type::int8: return float_path_sums<int8_t>(out);
              default: return nullptr;
            }
          },
          [](Type source) {
            return source == Type::bfloat16 ? row_sums<float, bfloat16> : row_sums<float, float>;
          },
          activate<float>,
          to_bfloat16<float>,
          FFF_INTEGER_DOTS,
          FFF_INTEGER_SUMS,
          to_integers};
}

template <>
Kernels<double> table<double>() {
  return {[](Type, Type) -> Kernels<double>::DotsFunction { return dots<double, double, double>; },
          [](Type, Type) -> Kernels<double>::PathSumsFunction {
            return path_sums<double, double, double>;
          },
          [](Type) -> Kernels<double>::RowSumsFunction { return row_sums<double, double>; },
          activate<double>,
          to_bfloat16<double>,
          nullptr,
          nullptr,
          nullptr};
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
