// The stopwatch of backends that compute on the host: an op is done when it returns.
#pragma once

#include <chrono>
#include <vector>

namespace octet {

class HostMarks {
 public:
  void mark() {
    const auto now = Clock::now();
    if (seconds_.empty()) first_ = now;
    seconds_.push_back(std::chrono::duration<double>(now - first_).count());
  }
  std::vector<double> take() {
    std::vector<double> taken(seconds_);
    seconds_.clear();  // keeps the capacity: later marks allocate nothing
    return taken;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point first_;
  std::vector<double> seconds_;
};

}  // namespace octet
