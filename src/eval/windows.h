// A long text in windows that fit a model, and a window in steps that fit its limits.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/model.h"

namespace octet {

struct WindowOptions {
  int32_t window = 1024;  // tokens that the model sees at once
  int32_t stride = 0;     // tokens from one window's begin to the next; 0: windows side by side
  bool bos = false;       // begin every window with the BOS token, which takes one of its places
  int64_t limit = 0;      // windows; 0: all
};

// Tokens [begin, end) of the text. Those from `first_scored` on (counted in the text) are scored, given all
// that is in the window before them.
struct Window {
  int64_t begin = 0, end = 0, first_scored = 0;
  int64_t n_scored() const { return end - first_scored; }
};

// Side by side: whole windows, what is left of the text at its end is left out; the first token of each is
// not scored (with BOS it is). With a stride: every token once, given at least window - stride before it
// where there are so many; the last window ends where the text does. This is the rule that Hugging Face
// describes for models of fixed length. Errors: kInvalidArgument where the text is shorter than a window, or
// the options make no sense.
Result<std::vector<Window>> cut_windows(int64_t n_tokens, const WindowOptions& options);

// One window's ids, BOS included where wanted (`bos_id` >= 0), and the index among them of the first scored.
struct WindowTokens {
  std::vector<int32_t> ids;
  int32_t first_scored = 0;
};
WindowTokens window_tokens(const std::vector<int32_t>& text, const Window& window, int32_t bos_id);

// What a step may hold; with two models side by side, the lesser of each.
struct StepLimits {
  int32_t max_tokens = 0, max_rows = 0, page_size = 0;
};
StepLimits step_limits(const Model& model);
StepLimits lesser(const StepLimits& a, const StepLimits& b);

// The steps that compute a window in the cache's pages [0, ...): each calls step(batch, first_target), where
// row i of its logits predicts ids[first_target + i]. A step without such rows is called with first_target =
// -1.
Status for_each_step(const WindowTokens& window, const StepLimits& limits,
                     const std::function<Status(const ForwardBatch& batch, int32_t first_target)>& step);

}  // namespace octet
