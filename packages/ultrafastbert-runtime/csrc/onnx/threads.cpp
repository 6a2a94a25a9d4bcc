#include "threads.h"

#include <algorithm>

#include "processors.h"

namespace onnx_operator {
namespace {

constexpr uint32_t most_calls_between_trials = 256;

// Calls 0, 1, 2, 4, 8, ..., then each 256th.
bool is_trial(uint32_t call) {
  return (call & (call - 1)) == 0 || call % most_calls_between_trials == 0;
}

template <class T>
void raise(std::atomic<T>& value, T least) {
  T found = value;
  while (found < least && !value.compare_exchange_weak(found, least)) {
  }
}

// A loop as its tasks see it.
struct Loop {
  void (*task)(void*, int64_t);
  void* context;
  uint64_t number;  // no other loop of the process has it
  std::atomic<int> n_threads{0};

  static void run(void* loop, size_t index) {
    static thread_local uint64_t latest = 0;  // loop that this thread took part in
    Loop& self = *static_cast<Loop*>(loop);
    if (latest != self.number) ++self.n_threads;
    latest = self.number;
    self.task(self.context, static_cast<int64_t>(index));
  }
};

}  // namespace

void SessionExecutor::run(void* runner, int64_t n_tasks, void (*task)(void*, int64_t),
                          void* context) {
  static std::atomic<uint64_t> n_loops{0};
  auto& self = *static_cast<SessionExecutor*>(runner);
  Loop loop{task, context, ++n_loops};
  self.api_.call(ort::parallel_for, self.context_, Loop::run, static_cast<size_t>(n_tasks), 0,
                 &loop);
  self.n_threads_ = std::max<int>(self.n_threads_, loop.n_threads);
}

Threads::Threads() : n_processors_(n_processors()) {}

int Threads::to_use(int64_t n_tokens) {
  const bool is_longer = n_tokens > 2 * longest_;
  return is_trial(n_calls_++) || is_longer ? n_processors_ : std::min<int>(n_seen_, n_processors_);
}

void Threads::used(int64_t n_tokens, int n_wanted, int n_seen) {
  raise(n_seen_, n_seen);
  if (n_wanted == n_processors_) raise(longest_, n_tokens);
}

}  // namespace onnx_operator
