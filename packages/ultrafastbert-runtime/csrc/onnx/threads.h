// The threads of the session that runs a kernel.
#pragma once

#include <atomic>
#include <cstdint>

#include "api.h"
#include "core/fff.h"

namespace onnx_operator {

// Runs the core's loops on the threads of the session, and counts them.
class SessionExecutor {
 public:
  SessionExecutor(const ort::Api& api, const ort::KernelContext* context)
      : api_(api), context_(context), executor_{run, this} {}
  SessionExecutor(const SessionExecutor&) = delete;
  SessionExecutor& operator=(const SessionExecutor&) = delete;

  const fff::Executor* get() const { return &executor_; }
  // The most threads that took part in one loop.
  int n_threads() const { return n_threads_; }

 private:
  static void run(void* runner, int64_t n_tasks, void (*task)(void*, int64_t), void* context);

  const ort::Api& api_;
  const ort::KernelContext* context_;
  fff::Executor executor_;
  int n_threads_ = 1;
};

// For how many threads to cut a kernel's calls. ONNX Runtime does not tell how many the session
// has, and pieces for threads that do not exist cost up to a quarter of a call of 128 tokens: so a
// call is cut for the most threads that took part in one before it. Calls are cut for all
// processors first, now and then, and where they are much longer than those, since threads take
// time to come.
class Threads {
 public:
  Threads();

  int to_use(int64_t n_tokens);
  // Tells of a call: for how many threads it was cut, and how many took part.
  void used(int64_t n_tokens, int n_wanted, int n_seen);

 private:
  const int n_processors_;
  std::atomic<int> n_seen_{1};
  std::atomic<int64_t> longest_{0};  // of the calls that were cut for all processors, in tokens
  std::atomic<uint32_t> n_calls_{0};
};

}  // namespace onnx_operator
