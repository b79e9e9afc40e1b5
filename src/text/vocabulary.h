// Tokens by id and by text: all texts in one string, found through one flat hash table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

class Vocabulary {
 public:
  // Ids need not come in order. An id that is taken keeps its text, and add says false; of equal texts the
  // last one is found.
  bool add(int32_t id, std::string_view text);

  int32_t find(std::string_view text) const;  // -1: not there
  std::string_view text(int32_t id) const;    // empty where there is no such id
  bool contains(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < entries_.size() && entries_[id].begin != kAbsent;
  }
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }  // the largest id + 1
  size_t longest() const { return longest_; }                             // bytes

 private:
  static constexpr uint32_t kAbsent = ~uint32_t{0};
  struct Entry {
    uint32_t begin = kAbsent, length = 0;
  };
  size_t slot(std::string_view text) const;
  void grow();

  std::string texts_;
  std::vector<Entry> entries_;                                 // by id
  std::vector<int32_t> slots_ = std::vector<int32_t>(16, -1);  // ids by hash of the text
  size_t used_ = 0, longest_ = 0;
};

}  // namespace octet
