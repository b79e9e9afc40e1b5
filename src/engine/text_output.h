// The text of one choice: the engine's events in, text out as soon as it is certain. Stop strings end a
// choice here, for the engine knows token ids alone: the caller then tells it with cancel_choice.
#pragma once

#include <string>

#include "engine/request.h"
#include "text/detokenizer.h"

namespace octet {

struct TextDelta {
  std::string text;  // may be empty: half a character, or what may begin a stop string
  FinishReason finish = FinishReason::kNone;  // set once; a stop string counts as kStop
  bool cancel = false;                        // the engine does not know of the end yet: call cancel_choice
  std::string stop_string;                    // that ended it
  int32_t stop_token = -1;                    // that ended it
  std::string error;                          // kError
};

class TextOutput {
 public:
  // `tokenizer` outlives this.
  TextOutput(const Tokenizer& tokenizer, const DetokenizerOptions& options);

  // Events after the end (the engine's own, of steps that were under way) give nothing.
  TextDelta push(const OutputEvent& event);

  bool finished() const { return finished_; }
  int32_t n_tokens() const { return n_tokens_; }  // generated up to the end, a stop token included

 private:
  Detokenizer detokenizer_;
  const bool include_stop_;
  bool finished_ = false;
  int32_t n_tokens_ = 0;
};

}  // namespace octet
