// Large pages under arrays: fewer page faults where memory is fresh, fewer misses of address
// translations where rows are read here and there.
#pragma once

#include <cstdint>

namespace fff {

// Asks for large pages under memory that is about to be written for the first time.
void advise_large_pages(void* data, int64_t bytes);

// Moves memory in use to large pages, where the system can (Linux 6.1).
void move_to_large_pages(const void* data, int64_t bytes);

}  // namespace fff
