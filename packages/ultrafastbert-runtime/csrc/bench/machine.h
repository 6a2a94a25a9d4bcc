// The limits of the processor, for rooflines: FMAs and bytes per second of the calling thread.
#pragma once

#include <cstdint>

namespace fff {

// Each measures for at least `seconds` and returns the mean rate of one thread. Start one call per
// thread at once to measure what threads get together.

// float32 FMAs (fused FMAs) per second, in registers, with the vectors of the instruction set in
// use.
double fma_rate(double seconds);

// Bytes per second read over and over from a working set of n_bytes; its size chooses the cache.
double read_rate(int64_t n_bytes, double seconds);

// Bytes per second written to n_bytes, by non-temporal stores where the processor has them.
double write_rate(int64_t n_bytes, double seconds);

}  // namespace fff
