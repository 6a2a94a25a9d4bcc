// Tokens sorted by their place in a tree.
#pragma once

#include <cstdint>

namespace fff {

// Sorts n tokens of `order` by place[token] - first, which has n_bits bits; stable.
void sort_by(const int32_t* place, int64_t n_bits, int32_t first, int32_t* order, int32_t n);

}  // namespace fff
