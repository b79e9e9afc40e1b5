#include "engine/text_output.h"

namespace octet {

TextOutput::TextOutput(const Tokenizer& tokenizer, const DetokenizerOptions& options)
    : detokenizer_(tokenizer, options), include_stop_(options.include_stop) {}

TextDelta TextOutput::push(const OutputEvent& event) {
  TextDelta delta;
  if (finished_) return delta;
  for (const OutputToken& token : event.tokens) {
    ++n_tokens_;
    delta.text += detokenizer_.push(token.token);
    if (!detokenizer_.stopped()) continue;
    finished_ = true;
    delta.finish = FinishReason::kStop;
    delta.cancel = event.finish == FinishReason::kNone;
    delta.stop_string = detokenizer_.stop_string();
    return delta;
  }
  if (event.finish == FinishReason::kNone) return delta;
  finished_ = true;
  delta.finish = event.finish;
  delta.stop_token = event.stop_token;
  delta.error = event.error;
  if (event.stop_token >= 0) {
    ++n_tokens_;
    if (include_stop_) delta.text += detokenizer_.push(event.stop_token);
  }
  delta.text += detokenizer_.finish();
  return delta;
}

}  // namespace octet
