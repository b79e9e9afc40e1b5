// A fixed set of threads for data-parallel loops. The caller takes part, so a pool of one has no extra
// thread. Workers spin for a short while between loops (a decode step is hundreds of loops of microseconds
// each), then sleep: an idle pool uses no CPU.
#pragma once

#include <cstdint>
#include <memory>

namespace octet {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Calls body(thread) once on each thread, thread in [0, size()), and returns when all have returned. Not
  // reentrant.
  template <typename Body>
  void run(const Body& body) {
    run_erased([](const void* context, int thread) { (*static_cast<const Body*>(context))(thread); }, &body);
  }

  // Splits [0, n) into chunks of `grain` handed out dynamically: body(begin, end, thread).
  // Results must not depend on which thread takes which chunk.
  template <typename Body>
  void parallel_for(int64_t n, int64_t grain, const Body& body);

 private:
  using Erased = void (*)(const void* context, int thread);
  void run_erased(Erased body, const void* context);
  struct Shared;
  int n_threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace octet

#include <algorithm>
#include <atomic>

namespace octet {

template <typename Body>
void ThreadPool::parallel_for(int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (n_threads_ == 1 || n <= grain) {
    body(int64_t{0}, n, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (int64_t begin; (begin = next.fetch_add(grain, std::memory_order_relaxed)) < n;) {
      body(begin, std::min(begin + grain, n), thread);
    }
  });
}

}  // namespace octet
