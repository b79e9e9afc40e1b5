#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace octet {
namespace {

// The single number that a control group's file holds; -1 where there is no file or it says "max".
int64_t read_number(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  return file >> value ? value : -1;
}

int64_t mem_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

}  // namespace

int64_t available_memory() {
  const int64_t machine = mem_available();
  const int64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const int64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit < 0 || used < 0) return machine;
  return std::min(machine, std::max<int64_t>(limit - used, 0));
}

}  // namespace octet
