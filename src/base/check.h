// OCTET_CHECK(condition) << "what was expected": for invariants that only our own code can break. Always on;
// aborts. Nothing a user sends may reach one: that is what Status is for.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace octet::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    stream_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::fprintf(stderr, "%s\n", stream_.str().c_str());
    std::fflush(stderr);
    std::abort();
  }
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace octet::internal

#define OCTET_CHECK(condition)                             \
  if (__builtin_expect(static_cast<bool>(condition), 1)) { \
  } else                                                   \
    ::octet::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
