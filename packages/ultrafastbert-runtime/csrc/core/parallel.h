// A small pool of threads for short loops.
#pragma once

#include <cstdint>

namespace fff {

// Calls task(context, i) once for each i in 0..n_tasks-1, on at most n_threads threads, and returns
// when all are done. The caller works too and never waits for a helper that has not begun a task,
// so concurrent and nested calls progress. The first exception thrown by a task is rethrown here.
// Safe in a forked child.
void parallel_for(int64_t n_tasks, int n_threads, void (*task)(void* context, int64_t index),
                  void* context);

template <class Function>
void parallel_for(int64_t n_tasks, int n_threads, Function function) {
  parallel_for(
      n_tasks, n_threads,
      [](void* context, int64_t index) { (*static_cast<Function*>(context))(index); }, &function);
}

}  // namespace fff
