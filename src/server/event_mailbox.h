// The one place where the engine's thread and the I/O thread meet on the way out.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/request.h"

namespace octet {

class Generation;

// From the engine's thread to the I/O thread. `wake` is called (on the engine's thread) when the first event
// of a batch arrives; it posts a call of deliver() to the I/O thread.
class EventMailbox {
 public:
  explicit EventMailbox(std::function<void()> wake) : wake_(std::move(wake)) {}
  void push(std::shared_ptr<Generation> to, int32_t prompt, const OutputEvent& event);
  void deliver();  // hands out everything, then lets each generation write once
  void close();    // events are forgotten from here on, and `wake` is not called again

 private:
  struct Entry {
    std::shared_ptr<Generation> to;
    int32_t prompt;
    OutputEvent event;
  };
  std::mutex mutex_;
  std::function<void()> wake_;  // empty: closed
  std::vector<Entry> entries_;
};

}  // namespace octet
