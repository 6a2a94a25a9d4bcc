#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace fff {
namespace {

struct Loop {
  int64_t n_tasks;
  void (*task)(void*, int64_t);
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> n_done{0};
  std::mutex mutex;
  std::condition_variable all_done;
  std::exception_ptr error;

  Loop(int64_t n, void (*function)(void*, int64_t), void* data)
      : n_tasks(n), task(function), context(data) {}

  bool done() const { return n_done.load(std::memory_order_acquire) == n_tasks; }

  // Claims and runs tasks until none is left to claim.
  void work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks;) {
      try {
        task(context, i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
      if (n_done.fetch_add(1, std::memory_order_acq_rel) + 1 == n_tasks) {
        std::lock_guard<std::mutex> lock(mutex);
        all_done.notify_one();
      }
    }
  }

  void wait() {
    // The tasks still running elsewhere are about to end: sleeping at once would cost more than
    // they do.
    for (int spin = 0; spin < 2000 && !done(); ++spin) std::this_thread::yield();
    std::unique_lock<std::mutex> lock(mutex);
    all_done.wait(lock, [this] { return done(); });
    if (error) std::rethrow_exception(error);
  }
};

class Pool {
 public:
  void run(const std::shared_ptr<Loop>& loop, int n_helpers) {
    invite(loop, n_helpers);
    loop->work();
    loop->wait();
  }

 private:
  void invite(const std::shared_ptr<Loop>& loop, int n_helpers) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (; n_threads_ < n_helpers; ++n_threads_) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        break;  // no more threads to be had: the caller and those we have do the work
      }
    }
    for (int i = 0; i < std::min(n_helpers, n_threads_); ++i) {
      invitations_.push_back(loop);
      invited_.notify_one();
    }
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Loop> loop;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        invited_.wait(lock, [this] { return !invitations_.empty(); });
        loop = std::move(invitations_.front());
        invitations_.pop_front();
      }
      loop->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable invited_;
  std::deque<std::shared_ptr<Loop>> invitations_;
  int n_threads_ = 0;
};

// Never destroyed: its threads may outlive static destructors. A forked child has none of them and
// starts a new pool.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
#ifndef _WIN32
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
  (void)registered;
#endif
  Pool* found = current_pool.load();
  if (found) return *found;
  auto created = std::make_unique<Pool>();
  if (current_pool.compare_exchange_strong(found, created.get())) return *created.release();
  return *found;
}

// Executors know nothing of exceptions: what a task throws waits here.
struct Guarded {
  void (*task)(void*, int64_t);
  void* context;
  std::mutex mutex = {};
  std::exception_ptr error = {};

  static void run(void* guarded, int64_t index) {
    Guarded& self = *static_cast<Guarded*>(guarded);
    try {
      self.task(self.context, index);
    } catch (...) {
      std::lock_guard<std::mutex> lock(self.mutex);
      if (!self.error) self.error = std::current_exception();
    }
  }
};

}  // namespace

void parallel_for(int64_t n_tasks, int n_threads, const Executor* executor,
                  void (*task)(void*, int64_t), void* context) {
  const int64_t n_helpers = std::min<int64_t>(n_threads, n_tasks) - 1;
  if (n_helpers <= 0) {
    for (int64_t i = 0; i < n_tasks; ++i) task(context, i);
    return;
  }
  if (executor) {
    Guarded guarded{task, context};
    executor->run(executor->runner, n_tasks, Guarded::run, &guarded);
    if (guarded.error) std::rethrow_exception(guarded.error);
    return;
  }
  pool().run(std::make_shared<Loop>(n_tasks, task, context), static_cast<int>(n_helpers));
}

}  // namespace fff
