// Huge pages under arrays: fewer page faults in fresh memory, fewer TLB misses where rows are read
// here and there.
#pragma once

#include <cstdint>

namespace fff {

// Asks for huge pages under an array, and moves it to them where the system can (Linux 6.1); pages
// not touched yet become huge at once. Cheap where pages are huge already.
void use_huge_pages(const void* data, int64_t bytes);

}  // namespace fff
