#include "server/event_mailbox.h"

#include "server/generation.h"

namespace octet {

void EventMailbox::push(std::shared_ptr<Generation> to, int32_t prompt, const OutputEvent& event) {
  const std::lock_guard lock(mutex_);
  if (!wake_) return;
  entries_.push_back({std::move(to), prompt, event});
  if (entries_.size() == 1) wake_();
}

void EventMailbox::deliver() {
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(entries_);
  }
  for (Entry& entry : entries) entry.to->on_event(entry.prompt, entry.event);
  for (Entry& entry : entries) entry.to->flush();
}

void EventMailbox::close() {
  std::vector<Entry> dropped;
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  dropped.swap(entries_);
}

}  // namespace octet
