// Tokens that are found in the text before the model sees it: special ones and those that were added to a
// vocabulary after its training. Leftmost first, the longest where several begin; as in Hugging Face's
// tokenizers, tokens marked `normalized` are looked for after normalization, in what the others left.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/flat_map.h"
#include "text/normalizer.h"

namespace octet {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;             // only where no word character touches it
  bool lstrip = false, rstrip = false;  // takes the white space before or after it along
  bool normalized = false;
  bool as_spelled = false;  // decoding gives `content`, not what its characters stand for
};

class AddedTokens {
 public:
  struct Segment {
    int32_t id;  // -1: text between tokens
    Span span;
  };

  void add(AddedToken token, const Normalizer& normalizer);

  // `normalized` says which of the two passes this is. Empty segments of text are left out.
  std::vector<Segment> split(std::string_view text, bool normalized, bool parse_special) const;
  const AddedToken* find(int32_t id) const;      // null: not an added token
  int32_t find(std::string_view content) const;  // -1: not an added token
  int32_t end_id() const { return end_id_; }     // the largest id + 1

 private:
  // A trie over bytes: edges_[node << 8 | byte] is the next node; node 0 is the root.
  struct Trie {
    FlatMap<uint32_t> edges;
    std::vector<int32_t> token_at = {-1};  // by node: index into tokens_
    bool begins[256] = {};
    void add(std::string_view text, int32_t token);
    // The longest token at the start of `text` and its length; -1 where there is none.
    int32_t longest(std::string_view text, size_t* length) const;
  };
  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, int32_t> by_content_;
  Trie raw_, normalized_;
  int32_t end_id_ = 0;
};

}  // namespace octet
