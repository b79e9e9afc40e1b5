// Progress of long work on stderr: a bar with rate and time left on a terminal, a plain line every few
// seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace octet {

class Progress {
 public:
  // `unit` is what is counted: "tokens", "layers", "MiB".
  Progress(std::string title, std::string unit, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t n = 1);
  void finish();  // idempotent; the destructor calls it

 private:
  using Clock = std::chrono::steady_clock;
  void print(bool last);
  std::string title_, unit_;
  int64_t total_, done_ = 0;
  bool terminal_, finished_ = false, printed_ = false;
  Clock::time_point start_, next_print_;
};

}  // namespace octet
