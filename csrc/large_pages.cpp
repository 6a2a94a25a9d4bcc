#include "large_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#endif

namespace fff {
namespace {

// Advice that the system does not take changes nothing.
void advise(const void* data, int64_t bytes, int advice) {
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t{2} << 20;
  const uintptr_t first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes) / page * page;
  if (data && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
#else
  (void)data, (void)bytes, (void)advice;
#endif
}

}  // namespace

#ifdef __linux__
void advise_large_pages(void* data, int64_t bytes) { advise(data, bytes, MADV_HUGEPAGE); }

void move_to_large_pages(const void* data, int64_t bytes) {
  advise(data, bytes, MADV_HUGEPAGE);
  advise(data, bytes, MADV_COLLAPSE);
}
#else
void advise_large_pages(void* data, int64_t bytes) { advise(data, bytes, 0); }

void move_to_large_pages(const void* data, int64_t bytes) { advise(data, bytes, 0); }
#endif

}  // namespace fff
