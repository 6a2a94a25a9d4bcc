// Layers of random numbers for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/fff.h"

namespace fff {

// What forward and backward read and write.
template <class T>
struct Arrays {
  std::vector<T> x, w_in, b_in, w_out, grad_y, y, logits, grad_x, grad_w_in, grad_b_in, grad_w_out;
  std::vector<int64_t> leaf;

  Arrays(const Shape& s, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<T>& v, int64_t n) {
      for (int64_t i = 0; i < n; ++i) v.push_back(static_cast<T>(normal(generator)));
    };
    const int64_t rows = s.n_trees * s.n_rows();
    fill(x, s.n_tokens * s.hidden_size);
    fill(w_in, rows * s.hidden_size);
    fill(b_in, rows);
    fill(w_out, rows * s.output_size);
    fill(grad_y, s.n_tokens * s.output_size);
    for (T& w : w_in) w = static_cast<T>(w / std::sqrt(static_cast<double>(s.hidden_size)));
    // Poison: whatever is not written stays NaN.
    const T nan = std::numeric_limits<T>::quiet_NaN();
    y.assign(s.n_tokens * s.output_size, nan);
    logits.assign(s.n_tokens * s.n_trees * s.n_slots(), nan);
    leaf.assign(s.n_tokens * s.n_trees, -1);
    grad_x.assign(x.size(), nan);
    grad_w_in.assign(w_in.size(), nan);
    grad_b_in.assign(b_in.size(), nan);
    grad_w_out.assign(w_out.size(), nan);
  }

  Weights weights(const Shape& s) const {
    const Type type = sizeof(T) == 8 ? Type::float64 : Type::float32;
    const T* leaves = w_in.data() + s.n_nodes() * s.hidden_size;
    return {{w_in.data(), type, s.n_rows(), nullptr},
            {leaves, type, s.n_rows(), nullptr},
            {w_out.data(), type, s.n_rows(), nullptr},
            b_in.data()};
  }

  void run(const Shape& s) {
    const Type type = sizeof(T) == 8 ? Type::float64 : Type::float32;
    forward(s, type, weights(s), x.data(), y.data(), leaf.data(), logits.data());
    backward(s, type, weights(s), grad_y.data(), x.data(), leaf.data(), logits.data(),
             {grad_x.data(), grad_w_in.data(), grad_b_in.data(), grad_w_out.data()});
  }

  bool equals(const Arrays& o) const {
    return y == o.y && leaf == o.leaf && logits == o.logits && grad_x == o.grad_x &&
           grad_w_in == o.grad_w_in && grad_b_in == o.grad_b_in && grad_w_out == o.grad_w_out;
  }
};

// Numbers of a smaller type with the values that they stand for.
struct Reduced {
  std::vector<bfloat16> bf16;
  std::vector<int8_t> int8;
  std::vector<float> scale;
  Type type;

  // Replaces `values`, rows of n_columns, by what is left of them.
  Reduced(Type to, std::vector<float>& values, int64_t n_columns) : type(to) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (to == Type::bfloat16) {
        uint32_t bits;
        std::memcpy(&bits, &values[i], sizeof bits);
        bits &= 0xffff0000u;
        std::memcpy(&values[i], &bits, sizeof bits);
        bf16.push_back({static_cast<uint16_t>(bits >> 16)});
      } else if (to == Type::int8) {
        if (i % n_columns == 0) scale.push_back(0.01f + 0.001f * static_cast<float>(i % 7));
        const float rounded = std::round(values[i] / scale.back());
        int8.push_back(static_cast<int8_t>(std::fmax(-127.0f, std::fmin(127.0f, rounded))));
        values[i] = static_cast<float>(int8.back()) * scale.back();
      }
    }
  }

  Rows rows(const float* values, int64_t first_row, int64_t n_columns, int64_t per_tree) const {
    const int64_t at = first_row * n_columns;
    if (type == Type::bfloat16) return {bf16.data() + at, type, per_tree, nullptr};
    if (type == Type::int8) return {int8.data() + at, type, per_tree, scale.data() + first_row};
    return {values + at, type, per_tree, nullptr};
  }
};

}  // namespace fff
