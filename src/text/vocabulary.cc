#include "text/vocabulary.h"

#include <algorithm>
#include <functional>

namespace octet {

bool Vocabulary::add(int32_t id, std::string_view text) {
  if (contains(id)) return false;
  if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[id] = {static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size())};
  texts_.append(text);
  longest_ = std::max(longest_, text.size());
  if (2 * (used_ + 1) > slots_.size()) grow();
  int32_t& slot_id = slots_[slot(text)];
  used_ += slot_id < 0;
  slot_id = id;
  return true;
}

int32_t Vocabulary::find(std::string_view text) const {
  return slots_[slot(text)];
}

std::string_view Vocabulary::text(int32_t id) const {
  if (!contains(id)) return {};
  return std::string_view(texts_).substr(entries_[id].begin, entries_[id].length);
}

size_t Vocabulary::slot(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t i = std::hash<std::string_view>()(text) & mask;
  while (slots_[i] >= 0 && this->text(slots_[i]) != text) i = (i + 1) & mask;
  return i;
}

void Vocabulary::grow() {
  std::vector<int32_t> old(slots_.size() * 2, -1);
  old.swap(slots_);
  for (const int32_t id : old) {
    if (id >= 0) slots_[slot(text(id))] = id;
  }
}

}  // namespace octet
