// Byte-pair encoding of one piece of text: by ranked merge rules (tokenizer.json, GGUF "gpt2"), or by the
// scores of the vocabulary's own tokens (SentencePiece's BPE, GGUF "llama").
//
// Both join the best pair of neighbours, the leftmost of equals, until none is left. Symbols are a linked
// list and candidates a heap of 64-bit keys (rank, position), a candidate being stale when its left symbol
// has another rank by then: n log n in the piece, whatever it holds.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/flat_map.h"
#include "text/vocabulary.h"

namespace octet {

// Joining two neighbours gives token `id`; a lower rank goes first.
struct Merge {
  static constexpr uint32_t kNone = ~uint32_t{0};
  uint32_t rank = kNone;
  int32_t id = -1;
};

struct BpeSymbol {
  int32_t id;           // -1: a character that is no token
  uint32_t begin, end;  // its bytes within the piece
  uint32_t previous, next;
  Merge merge;  // with the next symbol
};

// Working memory of encoding, kept from piece to piece.
struct BpeScratch {
  std::vector<BpeSymbol> symbols;  // of a piece
  std::vector<uint64_t> heap;
};

// Which characters a merge can join: the last of its left side and the first of its right. Between any other
// two a piece is cut beforehand, which changes no result and keeps heaps small in a text that comes uncut.
class Joints {
 public:
  void add(uint32_t last, uint32_t first) { pairs_[key(last, first)] = true; }
  bool contains(uint32_t last, uint32_t first) const { return pairs_.find(key(last, first)) != nullptr; }

 private:
  static uint64_t key(uint32_t last, uint32_t first) { return uint64_t{last} << 32 | first; }
  FlatMap<bool> pairs_;
};

struct ByteTokens {
  int32_t ids[256];  // "<0x00>" to "<0xFF>"; -1: not there
  explicit ByteTokens(const Vocabulary& vocabulary);
};

struct BpeOptions {
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
  bool byte_fallback = false;  // characters out of the vocabulary become the tokens of their bytes
  bool fuse_unknown = false;   // neighbouring unknown characters become one unknown token
  int32_t unknown = -1;        // -1: unknown characters are left out
};

class RankedBpe {
 public:
  RankedBpe(const Vocabulary& vocabulary, BpeOptions options, size_t n_merges);

  // The rule with the next rank: left and right become their concatenation. False where one of the three is
  // no token. Of equal pairs the last rule counts.
  bool add_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right);

  void encode(std::string_view piece, const Vocabulary& vocabulary, BpeScratch* scratch,
              std::vector<int32_t>* ids) const;

 private:
  void add_symbols(std::string_view piece, const Vocabulary& vocabulary,
                   std::vector<BpeSymbol>* symbols) const;
  BpeOptions options_;
  ByteTokens bytes_;
  FlatMap<Merge> merges_;
  Joints joints_;
  uint32_t n_merges_ = 0;
  std::vector<int32_t> short_chars_;  // ids of the characters below the byte alphabet's end
};

class ScoredBpe {
 public:
  // scores[id]; a token without one scores 0. `unknown`: for bytes without a token; -1: they are left out.
  ScoredBpe(const Vocabulary& vocabulary, const std::vector<float>& scores, int32_t unknown);

  void encode(std::string_view piece, const Vocabulary& vocabulary, BpeScratch* scratch,
              std::vector<int32_t>* ids) const;

 private:
  std::vector<uint32_t> ranks_;  // by id: the higher the score, the lower
  Joints joints_;
  ByteTokens bytes_;
  int32_t unknown_;
};

}  // namespace octet
