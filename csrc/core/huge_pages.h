// Large pages under arrays: fewer page faults where memory is fresh, fewer misses of address
// translations where rows are read here and there.
#pragma once

#include <cstdint>

namespace fff {

// Asks for large pages under an array, and moves it to them where the system can (Linux 6.1); pages
// not touched yet become large ones at once. Cheap where pages are large already.
void use_huge_pages(const void* data, int64_t bytes);

}  // namespace fff
