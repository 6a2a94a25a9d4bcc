// What the core takes: ranges of sizes and pairs of types.
#include <algorithm>
#include <stdexcept>

#include "fff.h"

namespace fff {
namespace {

void check_size(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    throw std::invalid_argument(std::string(name) + "=" + std::to_string(value) +
                                " must be within " + std::to_string(least) + ".." +
                                std::to_string(most));
}

}  // namespace

void validate(const Shape& shape) {
  constexpr int64_t most = int64_t{1} << 48;
  check_size("n_tokens", shape.n_tokens, 0, (int64_t{1} << 31) - 1);
  check_size("hidden_size", shape.hidden_size, 1, most);
  check_size("output_size", shape.output_size, 1, most);
  check_size("n_trees", shape.n_trees, 1, most);
  check_size("depth", shape.depth, 0, 30);
  check_size("leaf_size", shape.leaf_size, 1, most >> shape.depth);
  check_size("n_threads", shape.n_threads, 1, 1 << 16);
  const double columns = static_cast<double>(std::max(shape.hidden_size, shape.output_size));
  const double trees = static_cast<double>(shape.n_trees);
  const double largest = std::max({trees * shape.n_rows() * columns, columns * shape.n_tokens,
                                   trees * shape.n_slots() * shape.n_tokens});
  if (largest > static_cast<double>(most))
    throw std::invalid_argument("the sizes exceed the address space; make them smaller");
}

void validate(Type activations, const Weights& weights) {
  if (activations == Type::int8)
    throw std::invalid_argument("activations must be float32, float64 or bfloat16, not int8");
  for (const Rows& rows : {weights.nodes, weights.leaves, weights.out}) {
    if ((activations == Type::float64) != (rows.type == Type::float64))
      throw std::invalid_argument("weights and activations must both be float64, or neither");
    if (rows.type == Type::int8 && !rows.scale)
      throw std::invalid_argument("int8 weights need scales");
  }
}

}  // namespace fff
