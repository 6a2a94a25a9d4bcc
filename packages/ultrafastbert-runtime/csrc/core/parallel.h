// A small pool of threads for short loops.
#pragma once

#include <cstdint>

#include "fff.h"

namespace fff {

// Calls task(context, i) once for each i in 0..n_tasks-1 and returns when all are done. The first
// exception thrown by a task is rethrown here. One thread is the caller. More are those of the
// executor, however many it has; or without one at most n_threads of the pool: then the caller
// works too and never waits for a helper that has not begun a task, so concurrent and nested calls
// progress. The pool is safe in a forked child.
void parallel_for(int64_t n_tasks, int n_threads, const Executor* executor,
                  void (*task)(void* context, int64_t index), void* context);

template <class Function>
void parallel_for(int64_t n_tasks, int n_threads, const Executor* executor, Function function) {
  parallel_for(
      n_tasks, n_threads, executor,
      [](void* context, int64_t index) { (*static_cast<Function*>(context))(index); }, &function);
}

}  // namespace fff
