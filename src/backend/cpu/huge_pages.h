// Memory of packed weights. A decode step reads all of them once; with pages of 4 KiB much of that time would
// go to address translation (half of it on a virtual machine, where a look-up is two), and single layers of
// small models are no whole huge page. So they are cut from common chunks of 2 MiB pages.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace octet {

class HugePages {
 public:
  // Aligned to 64 bytes, not zeroed; its chunk goes when the last piece of it does. Null without memory.
  // From any thread.
  std::shared_ptr<char> allocate(size_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<char> chunk_;  // the one that small pieces are cut from
  size_t used_ = 0;
};

}  // namespace octet
