// The threads of the session that runs a kernel.
#pragma once

#include <atomic>
#include <cstdint>

#include "api.h"
#include "core/fff.h"

namespace onnx_operator {

// How many threads a kernel's session has. ONNX Runtime does not tell, and pieces for threads that
// do not exist cost up to a quarter of a call of 128 tokens.
class ThreadCount {
 public:
  // At most as many as the processors that this process may use.
  ThreadCount();

  int most() const { return most_; }

  // The most that were ever seen at once; looks at the first call, and now and then after it.
  int of(const ort::Api& api, const ort::KernelContext* context);

 private:
  const int most_;
  std::atomic<int> seen_{1};
  std::atomic<uint32_t> n_calls_{0};
};

// Runs the core's loops on the threads of the session.
class SessionExecutor {
 public:
  SessionExecutor(const ort::Api& api, const ort::KernelContext* context)
      : api_(api), context_(context), executor_{run, this} {}
  SessionExecutor(const SessionExecutor&) = delete;
  SessionExecutor& operator=(const SessionExecutor&) = delete;

  const fff::Executor* get() const { return &executor_; }

 private:
  static void run(void* runner, int64_t n_tasks, void (*task)(void*, int64_t), void* context);

  const ort::Api& api_;
  const ort::KernelContext* context_;
  fff::Executor executor_;
};

}  // namespace onnx_operator
