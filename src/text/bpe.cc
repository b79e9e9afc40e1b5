#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <functional>
#include <string>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace octet {

namespace {

constexpr uint32_t kNoSymbol = ~uint32_t{0};

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

void add_symbol(int32_t id, size_t begin, size_t end, std::vector<BpeSymbol>* symbols) {
  symbols->push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), 0, 0, {}});
}

uint32_t first_char(std::string_view text) {
  return first_code_point(text).value;
}
uint32_t last_char(std::string_view text) {
  return first_code_point(text.substr(last_code_point_begin(text))).value;
}

// Joins symbols [from, to) until no pair has a merge: `lookup(left, right)` gives that of two neighbours.
// What remains is the list that starts at `from` and goes on by `next`.
template <typename Lookup>
void merge_range(uint32_t from, uint32_t to, BpeScratch* scratch, const Lookup& lookup) {
  auto& symbols = scratch->symbols;
  auto& heap = scratch->heap;
  const auto key = [&](uint32_t i) { return uint64_t{symbols[i].merge.rank} << 32 | i; };
  heap.clear();
  for (uint32_t i = from; i < to; ++i) {
    symbols[i].previous = i == from ? kNoSymbol : i - 1;
    symbols[i].next = i + 1 == to ? kNoSymbol : i + 1;
    symbols[i].merge = i + 1 == to ? Merge{} : lookup(symbols[i], symbols[i + 1]);
    if (symbols[i].merge.rank != Merge::kNone) heap.push_back(key(i));
  }
  const auto lowest_first = std::greater<uint64_t>();
  std::make_heap(heap.begin(), heap.end(), lowest_first);
  const auto renew = [&](uint32_t i) {
    BpeSymbol& left = symbols[i];
    left.merge = left.next == kNoSymbol ? Merge{} : lookup(left, symbols[left.next]);
    if (left.merge.rank == Merge::kNone) return;
    heap.push_back(key(i));
    std::push_heap(heap.begin(), heap.end(), lowest_first);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), lowest_first);
    const uint64_t best = heap.back();
    heap.pop_back();
    const auto i = static_cast<uint32_t>(best);
    BpeSymbol& left = symbols[i];
    if (left.merge.rank != best >> 32) continue;  // stale
    BpeSymbol& right = symbols[left.next];
    left.id = left.merge.id;
    left.end = right.end;
    left.next = right.next;
    right.merge = {};
    if (left.next != kNoSymbol) symbols[left.next].previous = i;
    renew(i);
    if (left.previous != kNoSymbol) renew(left.previous);
  }
}

// Merges all symbols and calls `emit` with those that remain. `cut(left, right)`: no merge joins them, ever.
template <typename Lookup, typename Cut, typename Emit>
void merge_symbols(BpeScratch* scratch, const Lookup& lookup, const Cut& cut, const Emit& emit) {
  const auto& symbols = scratch->symbols;
  const auto n = static_cast<uint32_t>(symbols.size());
  for (uint32_t from = 0, to; from < n; from = to) {
    for (to = from + 1; to < n && !cut(symbols[to - 1], symbols[to]);) ++to;
    if (to - from > 1) merge_range(from, to, scratch, lookup);
    for (uint32_t i = from; i != kNoSymbol; i = to - from > 1 ? symbols[i].next : kNoSymbol) emit(symbols[i]);
  }
}

}  // namespace

ByteTokens::ByteTokens(const Vocabulary& vocabulary) {
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    ids[byte] = vocabulary.find(name);
  }
}

RankedBpe::RankedBpe(const Vocabulary& vocabulary, BpeOptions options, size_t n_merges)
    : options_(options), bytes_(vocabulary), merges_(n_merges) {
  for (uint32_t c = 0; c < kByteAlphabetEnd; ++c) {
    std::string text;
    append_code_point(c, &text);
    short_chars_.push_back(vocabulary.find(text));
  }
}

bool RankedBpe::add_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right) {
  const int32_t left_id = vocabulary.find(left);
  const int32_t right_id = vocabulary.find(right);
  const int32_t id = vocabulary.find(std::string(left).append(right));
  if (left.empty() || right.empty() || left_id < 0 || right_id < 0 || id < 0) return false;
  merges_[pair_key(left_id, right_id)] = {n_merges_++, id};
  joints_.add(last_char(left), first_char(right));
  return true;
}

void RankedBpe::add_symbols(std::string_view piece, const Vocabulary& vocabulary,
                            std::vector<BpeSymbol>* symbols) const {
  size_t pending_begin = 0, pending_end = 0;  // an unknown character that has not become a symbol yet
  const auto flush = [&] {
    if (pending_end > pending_begin) add_symbol(options_.unknown, pending_begin, pending_end, symbols);
    pending_end = pending_begin;
  };
  for (size_t at = 0; at < piece.size();) {
    const CodePoint c = first_code_point(piece.substr(at));
    const size_t end = at + c.length;
    const int32_t id =
        c.value < kByteAlphabetEnd ? short_chars_[c.value] : vocabulary.find(piece.substr(at, c.length));
    const auto byte_id = [&](size_t i) { return bytes_.ids[static_cast<uint8_t>(piece[i])]; };
    if (id >= 0) {
      flush();
      add_symbol(id, at, end, symbols);
    } else if (size_t known = at; options_.byte_fallback && [&] {
                 while (known < end && byte_id(known) >= 0) ++known;
                 return known == end;
               }()) {
      for (size_t i = at; i < end; ++i) add_symbol(byte_id(i), i, i + 1, symbols);
    } else if (options_.unknown >= 0) {
      if (!options_.fuse_unknown) flush();
      if (pending_end == pending_begin) pending_begin = at;
      pending_end = end;
    }
    at = end;
  }
  flush();
}

void RankedBpe::encode(std::string_view piece, const Vocabulary& vocabulary, BpeScratch* scratch,
                       std::vector<int32_t>* ids) const {
  if (options_.ignore_merges) {
    if (const int32_t id = vocabulary.find(piece); id >= 0) return ids->push_back(id);
  }
  auto& symbols = scratch->symbols;
  symbols.clear();
  add_symbols(piece, vocabulary, &symbols);
  merge_symbols(
      scratch,
      [&](const BpeSymbol& left, const BpeSymbol& right) {
        const Merge* merge = merges_.find(pair_key(left.id, right.id));
        return merge == nullptr ? Merge{} : *merge;
      },
      [&](const BpeSymbol& left, const BpeSymbol& right) {
        // Of a byte's token too it is the spelling that rules join.
        return !joints_.contains(last_char(vocabulary.text(left.id)), first_char(vocabulary.text(right.id)));
      },
      [&](const BpeSymbol& symbol) { ids->push_back(symbol.id); });
}

ScoredBpe::ScoredBpe(const Vocabulary& vocabulary, const std::vector<float>& scores, int32_t unknown)
    : bytes_(vocabulary), unknown_(unknown) {
  ranks_.reserve(static_cast<size_t>(vocabulary.size()));
  for (size_t id = 0; id < static_cast<size_t>(vocabulary.size()); ++id) {
    // The bits of a float, turned so that they order as unsigned integers do, the highest score lowest. -0 is
    // 0.
    const auto bits = std::bit_cast<uint32_t>((id < scores.size() ? scores[id] : 0.0f) + 0.0f);
    const uint32_t descending = bits >> 31 != 0 ? bits : ~bits & 0x7FFFFFFFu;
    ranks_.push_back(std::min(descending, Merge::kNone - 1));
    std::string_view text = vocabulary.text(static_cast<int32_t>(id));
    while (!text.empty()) {
      const CodePoint c = first_code_point(text);
      text.remove_prefix(c.length);
      if (!text.empty()) joints_.add(c.value, first_char(text));
    }
  }
}

void ScoredBpe::encode(std::string_view piece, const Vocabulary& vocabulary, BpeScratch* scratch,
                       std::vector<int32_t>* ids) const {
  const auto token = [&](uint32_t begin, uint32_t end) {
    return end - begin > vocabulary.longest() ? -1 : vocabulary.find(piece.substr(begin, end - begin));
  };
  auto& symbols = scratch->symbols;
  symbols.clear();
  for (uint32_t at = 0; at < piece.size();) {
    const uint32_t end = at + first_code_point(piece.substr(at)).length;
    add_symbol(token(at, end), at, end, &symbols);
    at = end;
  }
  const auto emit = [&](const BpeSymbol& symbol) {
    if (symbol.id >= 0) return ids->push_back(symbol.id);
    for (uint32_t at = symbol.begin; at < symbol.end; ++at) {
      const int32_t byte_id = bytes_.ids[static_cast<uint8_t>(piece[at])];
      if (byte_id >= 0 || unknown_ >= 0) ids->push_back(byte_id >= 0 ? byte_id : unknown_);
    }
  };
  merge_symbols(
      scratch,
      [&](const BpeSymbol& left, const BpeSymbol& right) {
        const int32_t id = token(left.begin, right.end);
        return id < 0 ? Merge{} : Merge{ranks_[id], id};
      },
      [&](const BpeSymbol& left, const BpeSymbol& right) {
        return !joints_.contains(first_char(piece.substr(left.begin)), first_char(piece.substr(right.begin)));
      },
      emit);
}

}  // namespace octet
