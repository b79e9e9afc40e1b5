#include "base/progress.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

namespace octet {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);
constexpr int kBarWidth = 30;

}  // namespace

Progress::Progress(std::string title, std::string unit, int64_t total)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(std::max<int64_t>(total, 1)),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()) {
  // Nothing is shown for work that ends within two seconds.
  next_print_ = start_ + std::chrono::seconds(2);
}

Progress::~Progress() {
  finish();
}

void Progress::advance(int64_t n) {
  done_ += n;
  const auto now = Clock::now();
  if (now < next_print_) return;
  next_print_ = now + (terminal_ ? Clock::duration(kTerminalInterval) : Clock::duration(kPlainInterval));
  print(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (printed_) print(true);
}

void Progress::print(bool last) {
  printed_ = true;
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  const int percent = static_cast<int>(100 * std::min(done_, total_) / total_);
  const auto done = static_cast<long long>(done_), total = static_cast<long long>(total_);
  if (terminal_) {
    std::string bar(static_cast<size_t>(kBarWidth), '.');
    std::fill_n(bar.begin(), static_cast<size_t>(kBarWidth * percent / 100), '#');
    std::fprintf(stderr, "\r%s [%s] %3d%% %lld/%lld %s, %.1f/s, %.0f s left \033[K%s", title_.c_str(),
                 bar.c_str(), percent, done, total, unit_.c_str(), rate, left, last ? "\n" : "");
  } else {
    std::fprintf(stderr, "%s: %d%% (%lld/%lld %s, %.1f/s, %.0f s %s)\n", title_.c_str(), percent, done, total,
                 unit_.c_str(), rate, last ? seconds : left, last ? "in all" : "left");
  }
  std::fflush(stderr);
}

}  // namespace octet
