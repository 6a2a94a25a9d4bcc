#include "huge_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#endif

namespace fff {

void use_huge_pages(const void* data, int64_t bytes) {
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t{2} << 20;
  const uintptr_t first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes) / page * page;
  if (!data || begin >= end) return;
  // Advice that the system does not take changes nothing.
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_COLLAPSE);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace fff
