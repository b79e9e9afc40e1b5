// A hash table from 64-bit keys to small values in one array (open addressing, linear probing, at most half
// full): a merge rule or a trie edge is one cache line away. The key 2^64-1 stands for an empty slot.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace octet {

template <typename Value>
class FlatMap {
 public:
  explicit FlatMap(size_t expected = 8) : slots_(std::bit_ceil(expected * 2 + 2)) {}

  const Value* find(uint64_t key) const {
    const Slot& slot = slots_[probe(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  // The value of `key`, made by Value() where there was none.
  Value& operator[](uint64_t key) {
    size_t i = probe(key);
    if (slots_[i].key != key) {
      if (2 * (used_ + 1) > slots_.size()) {
        grow();
        i = probe(key);
      }
      ++used_;
      slots_[i].key = key;
    }
    return slots_[i].value;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  // The slot that holds `key`, or the empty one where it belongs.
  size_t probe(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    size_t i = (hash ^ hash >> 32) & mask;
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (Slot& slot : old) {
      if (slot.key != kEmpty) slots_[probe(slot.key)] = std::move(slot);
    }
  }

  std::vector<Slot> slots_;
  size_t used_ = 0;
};

}  // namespace octet
