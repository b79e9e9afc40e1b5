#include "base/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace octet {
namespace {

TEST(Memory, IsWithinTheMachine) {
  const int64_t machine = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
  EXPECT_GT(available_memory(), 0);
  EXPECT_LE(available_memory(), machine);
}

}  // namespace
}  // namespace octet
