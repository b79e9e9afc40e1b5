#include "base/thread_pool.h"

#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(ThreadPool, RunsEveryThreadOnceALoop) {
  for (const int n : {1, 2, 5}) {
    ThreadPool pool(n);
    std::vector<int> count(static_cast<size_t>(n));
    for (int loop = 0; loop < 1000; ++loop) {
      pool.run([&](int thread) { ++count[static_cast<size_t>(thread)]; });
    }
    for (const int c : count) EXPECT_EQ(c, 1000);
  }
}

TEST(ThreadPool, ParallelForCoversTheRangeOnce) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 7, 1000}) {
    std::vector<int> seen(static_cast<size_t>(n));
    pool.parallel_for(n, 4, [&](int64_t begin, int64_t end, int thread) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, 3);
      for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
    });
    for (const int s : seen) EXPECT_EQ(s, 1);
  }
}

TEST(ThreadPool, SleepersWakeUp) {
  ThreadPool pool(2);
  int other = 0;
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pool.run([&](int thread) {
      if (thread == 1) ++other;
    });
  }
  EXPECT_EQ(other, 5);
}

TEST(ThreadPool, IdleUsesNoCpu) {
  ThreadPool pool(4);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  timespec before{}, after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const double used = static_cast<double>(after.tv_sec - before.tv_sec) +
                      1e-9 * static_cast<double>(after.tv_nsec - before.tv_nsec);
  EXPECT_LT(used, 0.02);
}

}  // namespace
}  // namespace octet
