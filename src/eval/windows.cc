#include "eval/windows.h"

#include <algorithm>

#include <fmt/format.h>

namespace octet {

Result<std::vector<Window>> cut_windows(int64_t n_tokens, const WindowOptions& o) {
  const int64_t body = o.window - (o.bos ? 1 : 0);  // tokens of the text in a window
  if (body < 2)
    return invalid_argument(fmt::format("--window {}: at least {} tokens", o.window, o.bos ? 3 : 2));
  if (o.stride < 0 || o.stride > body) {
    return invalid_argument(
        fmt::format("--stride {}: must be in [1, {}], so that no token is skipped", o.stride, body));
  }
  if (o.limit < 0) return invalid_argument(fmt::format("--limit {}: must not be negative", o.limit));
  if (n_tokens < body) {
    return invalid_argument(fmt::format(
        "the text has {} tokens, fewer than one window of {}: give a longer text or a smaller --window",
        n_tokens, body));
  }
  const int64_t unscored = o.bos ? 0 : 1;  // the first token of a text has nothing before it
  std::vector<Window> windows;
  int64_t scored_end = unscored;
  for (int64_t begin = 0; begin < n_tokens && (o.limit == 0 || std::ssize(windows) < o.limit);) {
    const int64_t end = std::min(begin + body, n_tokens);
    if (o.stride == 0) {
      if (end - begin < body) break;
      windows.push_back({begin, end, begin + unscored});
      begin = end;
    } else {
      windows.push_back({begin, end, std::max(scored_end, begin + unscored)});
      scored_end = end;
      if (end == n_tokens) break;
      begin += o.stride;
    }
  }
  return windows;
}

WindowTokens window_tokens(const std::vector<int32_t>& text, const Window& window, int32_t bos_id) {
  const int64_t n_bos = bos_id >= 0 ? 1 : 0;
  WindowTokens tokens;
  tokens.ids.assign(static_cast<size_t>(n_bos + window.end - window.begin), bos_id);
  std::copy(text.begin() + window.begin, text.begin() + window.end, tokens.ids.begin() + n_bos);
  tokens.first_scored = static_cast<int32_t>(window.first_scored - window.begin + n_bos);
  return tokens;
}

StepLimits step_limits(const Model& model) {
  return {model.max_step_tokens(), model.max_logits(), model.cache().page_size};
}

StepLimits lesser(const StepLimits& a, const StepLimits& b) {
  OCTET_CHECK(a.page_size == b.page_size);
  return {std::min(a.max_tokens, b.max_tokens), std::min(a.max_rows, b.max_rows), a.page_size};
}

Status for_each_step(const WindowTokens& window, const StepLimits& limits,
                     const std::function<Status(const ForwardBatch& batch, int32_t first_target)>& step) {
  const auto n =
      static_cast<int32_t>(window.ids.size()) - 1;  // the last token predicts nothing that is scored
  const int32_t first_row = window.first_scored - 1;
  ForwardBatch batch;
  for (int32_t begin = 0; begin < n;) {
    int32_t end = std::min(begin + limits.max_tokens, n);
    if (end > first_row) end = std::min(end, std::max(begin, first_row) + limits.max_rows);
    batch.clear();
    batch.query_start.push_back(0);
    batch.query_start.push_back(end - begin);
    batch.context_lens.push_back(end);
    for (int32_t position = begin; position < end; ++position) {
      batch.token_ids.push_back(window.ids[static_cast<size_t>(position)]);
      batch.positions.push_back(position);
      batch.slots.push_back(position);  // pages in order from 0: the slot is the position
      if (position >= first_row) batch.logit_rows.push_back(position - begin);
    }
    batch.page_table_stride = (end + limits.page_size - 1) / limits.page_size;
    for (int32_t page = 0; page < batch.page_table_stride; ++page) batch.page_table.push_back(page);
    OCTET_RETURN_IF_ERROR(step(batch, end > first_row ? std::max(begin, first_row) + 1 : -1));
    begin = end;
  }
  return {};
}

}  // namespace octet
