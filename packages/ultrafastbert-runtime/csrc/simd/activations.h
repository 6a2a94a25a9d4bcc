// Activations and their derivatives, branch-free so that compilers vectorise the loops over them.
//
// Included by kernels_impl.h, once per instruction set. float is computed in double, with
// approximations whose relative error (2e-9) is far below float's rounding; double uses the C
// library.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/fff.h"

namespace fff {
namespace FFF_NAMESPACE {

// a * b + c, fused where the target can.
inline double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <class T>
struct Functions;

template <>
struct Functions<double> {
  static double exp(double x) { return ::exp(x); }
  static double tanh(double x) { return ::tanh(x); }
  // Phi(z), the normal distribution function, and its density
  static double normal(double z, double& density) {
    density = 0.3989422804014327 * ::exp(-0.5 * z * z);
    return 0.5 * (1 + ::erf(0.7071067811865476 * z));
  }
};

template <>
struct Functions<float> {
  // exp(x) - 1 = scale - 1 + scale * fraction, scale a power of two; x within -700..700
  static double fraction(double x, double& scale) {
    const double shifter =
        6755399441055744.0;  // 1.5 * 2^52: the sum's low bits are x / ln 2 rounded to an integer
    const double shifted = fma(x, 1.4426950408889634, shifter);
    const double r = fma(shifted - shifter, -0.6931471805599453, x);
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&scale, &bits, sizeof scale);
    double p = 1.0 / 362880;  // Taylor series on |r| <= ln 2 / 2
    p = fma(p, r, 1.0 / 40320);
    p = fma(p, r, 1.0 / 5040);
    p = fma(p, r, 1.0 / 720);
    p = fma(p, r, 1.0 / 120);
    p = fma(p, r, 1.0 / 24);
    p = fma(p, r, 1.0 / 6);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    return p * r;
  }

  static double exp(double x) {
    const double clamped = x < -700 ? -700 : x > 700 ? 700 : x;
    double scale;
    const double f = fraction(clamped, scale);
    const double y = fma(scale, f, scale);
    return x < -700 ? 0 : x > 700 ? HUGE_VAL : y;
  }

  static double tanh(double x) {
    const double twice = -2 * fabs(x);
    const double clamped = twice < -700 ? -700 : twice;
    double scale;
    const double f = fraction(clamped, scale);
    const double minus = fma(scale, f, scale - 1);  // exp(-2|x|) - 1
    return copysign(-minus / (2 + minus), x);
  }

  // Phi(-x) = exp(-x^2 / 2) g(x) / (1 + x) for x >= 0, g a Chebyshev fit in (x - 3) / (x + 3),
  // relative error 1.9e-9.
  static double normal(double z, double& density) {
    const double e = exp(-0.5 * z * z);
    const double x = fabs(z);
    const double bounded =
        x > 1e6 ? 1e6 : x;  // exp is 0 long before: keeps infinity out of the quotient
    const double t = (bounded - 3) / (bounded + 3);
    double g = -1.2082425945878997e-5;
    g = fma(g, t, 7.881460044188655e-7);
    g = fma(g, t, 9.5968480168573216e-5);
    g = fma(g, t, 3.3608888561113059e-5);
    g = fma(g, t, -0.00051479020589792321);
    g = fma(g, t, -0.00036322746084881589);
    g = fma(g, t, 0.0030078460889024989);
    g = fma(g, t, 0.0011631075233781444);
    g = fma(g, t, -0.022729408614901266);
    g = fma(g, t, 0.045163611717925818);
    g = fma(g, t, -0.01643218700412344);
    g = fma(g, t, -0.096526748124675805);
    g = fma(g, t, 0.48605579342224867);
    const double tail = e * g / (1 + bounded);
    density = 0.3989422804014327 * e;
    return z > 0 ? 1 - tail : tail;
  }
};

struct ValueAndSlope {
  double value;
  double slope;
};

template <class T, Activation activation>
inline ValueAndSlope evaluate(double z) {
  using F = Functions<T>;
  if constexpr (activation == Activation::gelu) {
    double density;
    const double phi = F::normal(z, density);
    return {z * phi, fma(z, density, phi)};
  } else if constexpr (activation == Activation::gelu_pytorch_tanh) {
    const double root = 1.5957691216057308;  // 2 sqrt(2 / pi)
    const double s = 1 / (1 + F::exp(-root * z * (1 + 0.044715 * z * z)));
    return {z * s, s + z * s * (1 - s) * root * (1 + 3 * 0.044715 * z * z)};
  } else if constexpr (activation == Activation::relu) {
    return {z <= 0 ? 0 : z, z <= 0 ? 0.0 : 1.0};  // NaN stays NaN, as in PyTorch
  } else if constexpr (activation == Activation::silu) {
    const double s = 1 / (1 + F::exp(-z));
    return {z * s, s + z * s * (1 - s)};
  } else if constexpr (activation == Activation::tanh) {
    const double y = F::tanh(z);
    return {y, 1 - y * y};
  } else {
    return {z, 1};
  }
}

template <class T, Activation activation>
void activate_as(int64_t n, const T* __restrict z, T* __restrict value, T* __restrict slope) {
  if (!slope) {
    for (int64_t i = 0; i < n; ++i) value[i] = static_cast<T>(evaluate<T, activation>(z[i]).value);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const ValueAndSlope both = evaluate<T, activation>(z[i]);
    value[i] = static_cast<T>(both.value);
    slope[i] = static_cast<T>(both.slope);
  }
}

template <class T>
void activate(Activation activation, int64_t n, const T* z, T* value, T* slope) {
  switch (activation) {
    case Activation::gelu: return activate_as<T, Activation::gelu>(n, z, value, slope);
    case Activation::gelu_pytorch_tanh:
      return activate_as<T, Activation::gelu_pytorch_tanh>(n, z, value, slope);
    case Activation::relu: return activate_as<T, Activation::relu>(n, z, value, slope);
    case Activation::silu: return activate_as<T, Activation::silu>(n, z, value, slope);
    case Activation::tanh: return activate_as<T, Activation::tanh>(n, z, value, slope);
    case Activation::linear: return activate_as<T, Activation::linear>(n, z, value, slope);
  }
}

}  // namespace FFF_NAMESPACE
}  // namespace fff
