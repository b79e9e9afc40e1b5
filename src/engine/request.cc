#include "engine/request.h"

#include <cmath>

#include <fmt/format.h>

namespace octet {
namespace {

Status check_range(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return {};  // NaN is in no range
  return invalid_argument(fmt::format("{} must be in [{}, {}], not {}", name, low, high, value));
}

Status check_token(const char* name, int32_t token, int32_t vocab_size) {
  if (token >= 0 && token < vocab_size) return {};
  return invalid_argument(
      fmt::format("{} holds token {}; this model's vocabulary is [0, {})", name, token, vocab_size));
}

}  // namespace

Status SamplingParams::validate(int32_t vocab_size) const {
  if (!(temperature >= 0) || std::isinf(temperature)) {
    return invalid_argument(fmt::format("temperature must be a number of at least 0, not {}", temperature));
  }
  if (!(top_p > 0 && top_p <= 1))
    return invalid_argument(fmt::format("top_p must be in (0, 1], not {}", top_p));
  if (top_k < -1)
    return invalid_argument(fmt::format("top_k must be at least 1, or 0 or -1 for all, not {}", top_k));
  OCTET_RETURN_IF_ERROR(check_range("min_p", min_p, 0, 1));
  if (!(repetition_penalty > 0 && repetition_penalty <= 2)) {
    return invalid_argument(fmt::format("repetition_penalty must be in (0, 2], not {}", repetition_penalty));
  }
  OCTET_RETURN_IF_ERROR(check_range("presence_penalty", presence_penalty, -2, 2));
  OCTET_RETURN_IF_ERROR(check_range("frequency_penalty", frequency_penalty, -2, 2));
  for (const auto& [token, bias] : logit_bias) {
    OCTET_RETURN_IF_ERROR(check_token("logit_bias", token, vocab_size));
    OCTET_RETURN_IF_ERROR(check_range("logit_bias", bias, -100, 100));
  }
  if (max_tokens < 1)
    return invalid_argument(fmt::format("max_tokens must be at least 1, not {}", max_tokens));
  if (min_tokens < 0 || min_tokens > max_tokens) {
    return invalid_argument(
        fmt::format("min_tokens must be in [0, max_tokens = {}], not {}", max_tokens, min_tokens));
  }
  for (const int32_t token : stop_token_ids) {
    OCTET_RETURN_IF_ERROR(check_token("stop_token_ids", token, vocab_size));
  }
  OCTET_RETURN_IF_ERROR(check_range("logprobs", n_logprobs, -1, kMaxLogprobs));
  return check_range("prompt_logprobs", prompt_logprobs, -1, kMaxLogprobs);
}

}  // namespace octet
