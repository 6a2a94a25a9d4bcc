// The loops of one instruction set; see machine.h for what they measure.
#pragma once

#include <cstdint>

#define FFF_DECLARE_LOOPS(name)                         \
  namespace fff {                                       \
  namespace name {                                      \
  int64_t fmas(int64_t n_turns, float* sink);           \
  void read(const float* from, int64_t n, float* sink); \
  void write(float* to, int64_t n);                     \
  }                                                     \
  }

FFF_DECLARE_LOOPS(portable)
FFF_DECLARE_LOOPS(avx2)
FFF_DECLARE_LOOPS(avx512)
FFF_DECLARE_LOOPS(neon)
