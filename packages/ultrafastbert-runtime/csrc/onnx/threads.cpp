#include "threads.h"

#include <algorithm>
#include <chrono>

#include "processors.h"

namespace onnx_operator {
namespace {

using Clock = std::chrono::steady_clock;

// Sleeping threads wake within this, where there is a processor for them.
constexpr auto patience = std::chrono::microseconds(200);
// Waiting in vain takes about a microsecond of each call.
constexpr uint32_t calls_between_counts = 256;

// Function(size_t) for each of 0..n-1, on threads of the session.
template <class Function>
void for_each(const ort::Api& api, const ort::KernelContext* context, size_t n,
              Function& function) {
  api.call(
      ort::parallel_for, context, [](void* p, size_t i) { (*static_cast<Function*>(p))(i); }, n, 0,
      &function);
}

// Threads that wait for each other are different ones. Who comes too late is not counted: perhaps
// it is one of them, again.
int count(const ort::Api& api, const ort::KernelContext* context, int most) {
  std::atomic<int> n_there{0};
  const Clock::time_point end = Clock::now() + patience;
  auto meet = [&](size_t) {
    if (Clock::now() >= end) return;
    ++n_there;
    while (n_there < most && Clock::now() < end) {
    }
  };
  for_each(api, context, static_cast<size_t>(most), meet);
  return n_there;
}

}  // namespace

ThreadCount::ThreadCount() : most_(n_processors()) {}

int ThreadCount::of(const ort::Api& api, const ort::KernelContext* context) {
  int seen = seen_;
  if (seen == most_ || n_calls_++ % calls_between_counts != 0) return seen;
  const int now = count(api, context, most_);
  while (now > seen && !seen_.compare_exchange_weak(seen, now)) {
  }
  return std::max(now, seen);
}

void SessionExecutor::run(void* runner, int64_t n_tasks, void (*task)(void*, int64_t),
                          void* context) {
  const SessionExecutor& self = *static_cast<const SessionExecutor*>(runner);
  auto call = [=](size_t i) { task(context, static_cast<int64_t>(i)); };
  for_each(self.api_, self.context_, static_cast<size_t>(n_tasks), call);
}

}  // namespace onnx_operator
