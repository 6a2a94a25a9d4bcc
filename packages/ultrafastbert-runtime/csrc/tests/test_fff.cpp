// Compares the core with a naive loop in double, for the instruction set that ULTRAFASTBERT_ISA
// names. Free of Python, so that it runs under sanitizers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "arrays.h"
#include "core/fff.h"

using fff::Activation;
using fff::Arrays;
using fff::Reduced;
using fff::Shape;
using fff::Type;

namespace {

int n_failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("FAILED: %s\n", what);
  ++n_failures;
}

double act(Activation a, double z) {
  switch (a) {
    case Activation::gelu: return 0.5 * z * std::erfc(-z / std::sqrt(2.0));
    case Activation::gelu_pytorch_tanh:
      return 0.5 * z * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
    case Activation::relu: return z > 0 ? z : 0;
    case Activation::silu: return z / (1 + std::exp(-z));
    case Activation::tanh: return std::tanh(z);
    case Activation::linear: return z;
  }
  return 0;
}

double slope(Activation a, double z) {
  if (a == Activation::relu) return z > 0 ? 1 : 0;
  const double h = 1e-5;
  return (act(a, z + h) - act(a, z - h)) / (2 * h);
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& exact, const char* what) {
  double scale = 1, error = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    scale = std::fmax(scale, std::fabs(exact[i]));
    const double difference = std::fabs(static_cast<double>(got[i]) - exact[i]);
    if (!std::isnan(error) && !(difference <= error)) error = difference;  // NaN sticks
  }
  expect(error <= scale * (sizeof(T) == 4 ? 1e-5 : 1e-8), what);
}

template <class T>
std::vector<double> zeros(const std::vector<T>& like) {
  return std::vector<double>(like.size(), 0.0);
}

// Follows the paths that forward took, whose decisions it checks where rounding cannot flip them.
template <class T>
void compare(const Shape& s, const Arrays<T>& a) {
  auto y = zeros(a.y), logits = zeros(a.logits), gx = zeros(a.x), gw = zeros(a.w_in),
       gb = zeros(a.b_in), go = zeros(a.w_out);
  for (int64_t t = 0; t < s.n_tokens; ++t)
    for (int64_t k = 0; k < s.n_trees; ++k) {
      const int64_t leaf = a.leaf[t * s.n_trees + k];
      if (leaf < 0 || leaf >= s.n_leaves()) return expect(false, "leaf in range");
      for (int64_t slot = 0; slot < s.n_slots(); ++slot) {
        const bool node = slot < s.depth;
        const int64_t row =
            k * s.n_rows() + (node ? (int64_t{1} << slot) - 1 + (leaf >> (s.depth - slot))
                                   : s.n_nodes() + leaf * s.leaf_size + slot - s.depth);
        double z = a.b_in[row], da = 0;
        for (int64_t h = 0; h < s.hidden_size; ++h)
          z += double(a.w_in[row * s.hidden_size + h]) * a.x[t * s.hidden_size + h];
        logits[(t * s.n_trees + k) * s.n_slots() + slot] = z;
        if (node && std::fabs(z) > 1e-4)
          expect(((leaf >> (s.depth - slot - 1)) & 1) == (z > 0), "right iff z > 0");
        if (node && !s.node_output) continue;
        const double value = act(s.activation, z);
        for (int64_t o = 0; o < s.output_size; ++o) {
          const double g = a.grad_y[t * s.output_size + o];
          y[t * s.output_size + o] += value * a.w_out[row * s.output_size + o];
          da += g * a.w_out[row * s.output_size + o];
          go[row * s.output_size + o] += value * g;
        }
        const double dz = da * slope(s.activation, z);
        gb[row] += dz;
        for (int64_t h = 0; h < s.hidden_size; ++h) {
          gx[t * s.hidden_size + h] += dz * a.w_in[row * s.hidden_size + h];
          gw[row * s.hidden_size + h] += dz * a.x[t * s.hidden_size + h];
        }
      }
    }
  expect_near(a.y, y, "y");
  expect_near(a.logits, logits, "logits");
  expect_near(a.grad_x, gx, "grad_x");
  expect_near(a.grad_w_in, gw, "grad_w_in");
  expect_near(a.grad_b_in, gb, "grad_b_in");
  expect_near(a.grad_w_out, go, "grad_w_out");
}

template <class T>
void test(Shape s) {
  Arrays<T> one(s, 1);
  one.run(s);
  compare(s, one);
  for (int n_threads : {2, 4}) {
    s.n_threads = n_threads;
    Arrays<T> several(s, 1);
    several.run(s);
    expect(several.equals(one), "the same with several threads");
  }
}

void test_sizes() {
  for (int a = 0; a <= static_cast<int>(Activation::linear); ++a)
    for (bool node_output : {true, false})
      for (Shape s :
           {Shape{0, 3, 3, 1, 2, 1, {}, {}, 1}, Shape{1, 1, 1, 1, 0, 1, {}, {}, 1},
            Shape{5, 3, 130, 2, 3, 2, {}, {}, 1}, Shape{67, 63, 7, 1, 4, 5, {}, {}, 1},
            Shape{40, 200, 65, 3, 0, 37, {}, {}, 1}, Shape{700, 19, 33, 1, 8, 1, {}, {}, 1}}) {
        s.activation = static_cast<Activation>(a);
        s.node_output = node_output;
        test<float>(s);
        test<double>(s);
      }
  // Large enough for several threads to take part.
  test<float>({600, 136, 72, 1, 7, 1, Activation::gelu, true, 1});
  test<double>({300, 130, 65, 3, 5, 2, Activation::silu, true, 1});
  test<float>({400, 40, 72, 2, 8, 2, Activation::gelu, true, 1});
}

void test_concurrent_calls() {
  const Shape shape{300, 128, 128, 1, 6, 1, Activation::gelu, true, 3};
  Arrays<float> expected(shape, 1);
  expected.run(shape);
  std::vector<Arrays<float>> results(4, Arrays<float>(shape, 1));
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&result, &shape] {
      for (int i = 0; i < 10; ++i) result.run(shape);
    });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results)
    expect(result.equals(expected), "the same in concurrent calls");
}

std::vector<float> numbers(const std::vector<fff::bfloat16>& v) {
  std::vector<float> result;
  for (fff::bfloat16 b : v) {
    const uint32_t bits = uint32_t{b.bits} << 16;
    result.push_back(0);
    std::memcpy(&result.back(), &bits, sizeof bits);
  }
  return result;
}

// Relative difference of the tokens whose paths agree, which most must.
float difference(const Shape& s, const std::vector<int64_t>& leaf, const std::vector<float>& got,
                 const Arrays<float>& exact) {
  double square = 0, norm = 1e-30;
  int64_t n_agree = 0;
  for (int64_t t = 0; t < s.n_tokens; ++t) {
    bool agree = true;
    for (int64_t k = 0; k < s.n_trees; ++k)
      agree = agree && leaf[t * s.n_trees + k] == exact.leaf[t * s.n_trees + k];
    if (!agree) continue;
    ++n_agree;
    for (int64_t o = t * s.output_size; o < (t + 1) * s.output_size; ++o) {
      square += (got[o] - exact.y[o]) * double(got[o] - exact.y[o]);
      norm += exact.y[o] * double(exact.y[o]);
    }
  }
  expect(n_agree >= s.n_tokens * 9 / 10, "paths agree");
  return static_cast<float>(std::sqrt(square / norm));
}

void test_types(const Shape& s, Type activations, Type nodes, Type others) {
  Arrays<float> exact(s, 1);
  const int64_t h = s.hidden_size, n = s.n_nodes();
  const Reduced x(activations, exact.x, h), out(others, exact.w_out, s.output_size);
  std::vector<float> float_rows = exact.w_in;
  const Reduced in(others, exact.w_in, h);
  if (nodes == Type::float32 && others != Type::float32)  // nodes keep their own values
    for (int64_t k = 0; k < s.n_trees; ++k)
      std::copy_n(float_rows.begin() + k * s.n_rows() * h, n * h,
                  exact.w_in.begin() + k * s.n_rows() * h);
  exact.run(s);
  const Reduced same(Type::float32, float_rows, h);
  const fff::Weights weights{
      (nodes == others ? in : same).rows(exact.w_in.data(), 0, h, s.n_rows()),
      in.rows(exact.w_in.data(), n, h, s.n_rows()),
      out.rows(exact.w_out.data(), 0, s.output_size, s.n_rows()), exact.b_in.data()};
  std::vector<int64_t> leaf(exact.leaf.size());
  if (activations == Type::float32) {
    std::vector<float> y(exact.y.size());
    fff::forward(s, activations, weights, exact.x.data(), y.data(), leaf.data(), nullptr);
    // Leaves of many rows of int8 are multiplied in integers of 16 bits.
    const bool in_integers = others == Type::int8 && s.leaf_size >= 8;
    expect(difference(s, leaf, y, exact) < (in_integers ? 1e-4f : 1e-5f),
           "weights of a smaller type");
    return;
  }
  std::vector<fff::bfloat16> y(exact.y.size()), grad_x(exact.x.size());
  std::vector<float> logits(exact.logits.size());
  fff::forward(s, activations, weights, x.bf16.data(), y.data(), leaf.data(), logits.data());
  expect(difference(s, leaf, numbers(y), exact) < 4e-3f, "activations in bfloat16");
  if (others != Type::float32) return;
  const Reduced grad_y(activations, exact.grad_y, s.output_size);
  exact.run(s);
  std::vector<float> grad_w_in(exact.w_in.size()), grad_w_out(exact.w_out.size());
  fff::backward(s, activations, weights, grad_y.bf16.data(), x.bf16.data(), leaf.data(),
                logits.data(), {grad_x.data(), grad_w_in.data(), nullptr, grad_w_out.data()});
  const auto near = [](const std::vector<float>& a, const std::vector<float>& b, double bound) {
    double square = 0, norm = 1e-30;
    for (size_t i = 0; i < a.size(); ++i)
      square += (a[i] - b[i]) * double(a[i] - b[i]), norm += b[i] * double(b[i]);
    return std::sqrt(square / norm) < bound;
  };
  expect(near(numbers(grad_x), exact.grad_x, 4e-3), "grad_x in bfloat16");
  expect(near(grad_w_in, exact.grad_w_in, 1e-5), "grad_w_in of bfloat16 activations");
  expect(near(grad_w_out, exact.grad_w_out, 1e-5), "grad_w_out of bfloat16 activations");
}

void test_types() {
  for (const Shape& s : {Shape{67, 63, 33, 1, 4, 5, Activation::gelu, true, 2},
                         Shape{300, 96, 64, 1, 7, 1, Activation::gelu, true, 1},
                         Shape{40, 65, 70, 3, 3, 1, Activation::gelu, false, 1},
                         Shape{9, 200, 17, 2, 0, 7, Activation::gelu, true, 1},
                         Shape{67, 63, 33, 1, 4, 9, Activation::gelu, true, 2},
                         Shape{300, 130, 71, 2, 2, 8, Activation::gelu, false, 3},
                         Shape{40, 1, 1, 1, 1, 8, Activation::gelu, false, 1},
                         Shape{200, 384, 96, 1, 5, 40, Activation::gelu, true, 2},
                         Shape{5, 16, 9, 1, 0, 600, Activation::gelu, true, 1},
                         Shape{3, 8200, 5, 1, 0, 8, Activation::gelu, true, 1}})
    for (Type activations : {Type::float32, Type::bfloat16}) {
      for (Type others : {Type::float32, Type::bfloat16, Type::int8}) {
        test_types(s, activations, others, others);
        test_types(s, activations, Type::float32, others);
      }
    }
}

// A layer of int8 weights, and its output for one token after the other and for all at once.
struct Int8Layer {
  Shape shape;
  Arrays<float> arrays;
  Reduced in, out;

  explicit Int8Layer(const Shape& s)
      : shape(s),
        arrays(s, 1),
        in(Type::int8, arrays.w_in, s.hidden_size),
        out(Type::int8, arrays.w_out, s.output_size) {}

  std::vector<float> run(int64_t first, int64_t n, int n_threads) const {
    Shape s = shape;
    s.n_tokens = n;
    s.n_threads = n_threads;
    const fff::Weights weights{in.rows(nullptr, 0, s.hidden_size, s.n_rows()),
                               in.rows(nullptr, s.n_nodes(), s.hidden_size, s.n_rows()),
                               out.rows(nullptr, 0, s.output_size, s.n_rows()), arrays.b_in.data()};
    std::vector<float> y(n * s.output_size);
    fff::forward(s, Type::float32, weights, arrays.x.data() + first * s.hidden_size, y.data(),
                 nullptr, nullptr);
    return y;
  }
};

void test_integers_of_a_token() {
  Int8Layer layer({300, 70, 37, 1, 4, 11, Activation::gelu, true, 1});
  const int64_t h = layer.shape.hidden_size, o = layer.shape.output_size;
  std::fill_n(layer.arrays.x.begin(), h, 0.0f);
  const auto expected = layer.run(0, 300, 1);
  expect(layer.run(0, 300, 4) == expected, "int8: the same with several threads");
  for (int64_t t = 0; t < 300; ++t)
    expect(std::equal(expected.begin() + t * o, expected.begin() + (t + 1) * o,
                      layer.run(t, 1, 1).begin()),
           "int8: the same for a token alone");
  const float inf = std::numeric_limits<float>::infinity();
  float* x = layer.arrays.x.data();
  x[1 * h + 3] = std::nanf("");
  x[2 * h + 69] = inf;
  x[3 * h] = -inf;
  std::transform(x + 4 * h, x + 5 * h, x + 4 * h, [](float v) { return v * 1e-40f; });
  std::transform(x + 5 * h, x + 6 * h, x + 5 * h, [](float v) { return v * 1e34f; });
  const auto got = layer.run(0, 300, 2);
  for (int64_t i = 0; i < 300 * o; ++i) {
    const int64_t t = i / o;
    if (t >= 1 && t <= 3)
      expect(std::isnan(got[i]), "int8: NaN for a token of NaN or infinity");
    else if (t == 4)
      expect(std::fabs(got[i] - expected[i % o]) <= 1e-5f, "int8: denormals are nearly zero");
    else if (t != 5)
      expect(got[i] == expected[i], "int8: tokens do not touch each other");
    else
      expect(!std::isnan(got[i]), "int8: large numbers");
  }
}

void test_errors() {
  const auto throws = [](auto function) {
    try {
      function();
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  expect(throws([] { fff::validate({1, 1, 1, 1, 31, 1, {}, true, 1}); }), "depth 31 is refused");
  expect(throws([] { fff::validate({1, 0, 1, 1, 1, 1, {}, true, 1}); }),
         "hidden size 0 is refused");
  expect(
      throws([] { fff::validate({int64_t{1} << 40, int64_t{1} << 40, 1, 1, 1, 1, {}, true, 1}); }),
      "overflow is refused");
  const Shape shape{4, 8, 8, 1, 2, 1, Activation::gelu, true, 1};
  Arrays<float> arrays(shape, 1);
  arrays.run(shape);
  arrays.leaf[2] = 4;
  expect(throws([&] {
           fff::backward(shape, Type::float32, arrays.weights(shape), arrays.grad_y.data(),
                         arrays.x.data(), arrays.leaf.data(), arrays.logits.data(),
                         {arrays.grad_x.data(), nullptr, nullptr, nullptr});
         }),
         "a leaf out of range is refused");
}

}  // namespace

int main() {
  const char* wanted = std::getenv("ULTRAFASTBERT_ISA");
  bool here = !wanted;
  for (const auto& name : fff::available_instruction_sets()) here = here || name == wanted;
  if (!here) return 77;  // skipped: not an instruction set of this machine
  test_sizes();
  test_types();
  test_integers_of_a_token();
  test_concurrent_calls();
  test_errors();
  std::printf("%s: %d failures\n", fff::instruction_set().c_str(), n_failures);
  return n_failures > 0;
}
