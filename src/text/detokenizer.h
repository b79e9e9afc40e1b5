// Streaming detokenizer of one sequence: token ids in, text out as soon as it is certain.
//
// Never emits half a UTF-8 character (it waits for the rest; bytes that can no longer become one turn into
// U+FFFD) and holds back any tail that could be the beginning of a stop string, across token borders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace octet {

struct DetokenizerOptions {
  bool skip_special_tokens = true;
  std::vector<std::string> stop;  // stop strings; empty ones are ignored
  bool include_stop = false;      // emit the stop string too (vLLM's include_stop_str_in_output)
};

class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options);

  // The text that became certain with this token; may be empty. After a stop string was found it is always
  // empty.
  std::string push(TokenId id);
  // The rest, at the end of the sequence (an unfinished character becomes U+FFFD).
  std::string finish();

  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }  // which one

 private:
  // One stop string and how much of it the text so far ends with: the automaton of Knuth, Morris and Pratt.
  struct Stop {
    std::string text;
    std::vector<size_t>
        fallback;  // by length matched: the next shorter beginning that the text also ends with
    size_t matched = 0;
  };
  // Takes in new whole characters; gives what can no longer be part of a stop string.
  std::string pass(std::string_view characters);

  const Tokenizer& tokenizer_;
  bool skip_special_tokens_, include_stop_;
  std::vector<Stop> stops_;
  std::string bytes_;  // not yet whole characters
  std::string held_;   // whole characters that may begin a stop string
  bool first_ = true, stopped_ = false;
  std::string stop_string_;
};

}  // namespace octet
