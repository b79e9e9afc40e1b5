#include "base/thread_pool.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octet {
namespace {

// About 20 us of spinning: longer than the gap between two loops of one step, shorter than anyone notices.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

struct ThreadPool::Shared {
  std::vector<std::thread> workers;
  Erased body = nullptr;
  const void* context = nullptr;
  std::atomic<uint64_t> generation{0};  // a new loop is there when this changes
  std::atomic<int> running{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;

  void work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation.load(std::memory_order_acquire) == seen; ++spin) pause();
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return generation.load() != seen; });
        sleepers.fetch_sub(1);
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load()) return;
      body(context, thread);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  void start_generation() {
    generation.fetch_add(1);  // sequentially consistent with sleepers: one of the two sides sees the other
    if (sleepers.load() > 0) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int n_threads)
    : n_threads_(std::max(1, n_threads)), shared_(std::make_unique<Shared>()) {
  for (int thread = 1; thread < n_threads_; ++thread) {
    shared_->workers.emplace_back([this, thread] { shared_->work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true);
  shared_->start_generation();
  for (auto& worker : shared_->workers) worker.join();
}

void ThreadPool::run_erased(Erased body, const void* context) {
  if (n_threads_ > 1) {
    shared_->body = body;
    shared_->context = context;
    shared_->running.store(n_threads_ - 1, std::memory_order_relaxed);
    shared_->start_generation();
  }
  body(context, 0);
  while (n_threads_ > 1 && shared_->running.load(std::memory_order_acquire) > 0) pause();
}

}  // namespace octet
