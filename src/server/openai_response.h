// The answers of the OpenAI API, written straight to a string: whole ones, and the chunks of a stream.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace octet {

enum class ApiKind : uint8_t { kCompletion, kChat };

struct ResponseHead {
  ApiKind kind = ApiKind::kChat;
  std::string id;       // "chatcmpl-...", "cmpl-..."
  int64_t created = 0;  // seconds since 1970
  std::string model;
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

// A finished choice. The pieces of JSON are "null" or what append_*_logprobs wrote.
struct ChoiceAnswer {
  int32_t index = 0;
  std::string text;
  std::string finish_reason;              // "stop", "length"
  std::string stop_reason_json = "null";  // vLLM's: the stop string, the stop token's id, or null
  std::string logprobs_json = "null";
  std::string prompt_logprobs_json;  // empty: not asked for
  std::span<const int32_t> token_ids, prompt_token_ids;
  bool with_token_ids = false;
};

std::string completion_json(const ResponseHead& head, const std::vector<ChoiceAnswer>& choices,
                            const Usage& usage);

// A part of a choice, as it streams.
struct ChoiceDelta {
  int32_t index = 0;
  std::string_view text;
  std::string_view finish_reason;  // empty: not finished
  std::string_view stop_reason_json = "null";
  std::string_view logprobs_json = "null";
  std::span<const int32_t> token_ids;
  bool with_token_ids = false;
  const Usage* usage = nullptr;  // continuous usage
};

// Writes `data: {...}` events. What is the same in every chunk is made once.
class ChunkWriter {
 public:
  ChunkWriter(const ResponseHead& head, bool include_usage);
  void append_role(std::string& out, int32_t index,
                   const Usage* usage) const;  // the first of a chat's choice
  void append_delta(std::string& out, const ChoiceDelta& delta) const;
  void append_usage(std::string& out, const Usage& usage) const;
  static void append_error(std::string& out, std::string_view error_json);
  static void append_done(std::string& out);

 private:
  void append_end(std::string& out, const Usage* usage) const;
  ApiKind kind_;
  bool include_usage_;
  std::string head_;     // up to `"choices":[`
  std::string opening_;  // head_ and up to the choice's index
};

void append_usage_json(std::string& out, const Usage& usage);

// A token as answers spell it: its text, or "bytes:\xe2\x82" where its bytes are no UTF-8 by themselves.
std::string token_label(const Tokenizer& tokenizer, int32_t token);

// {"content": [{"token", "logprob", "bytes", "top_logprobs"}]} for chats.
void append_chat_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} for completions. A token whose logprob is NaN
// (the first of an echoed prompt) gets null. `offset` counts the characters of the text, in which special
// tokens may be skipped, and is moved on.
void append_legacy_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens,
                            bool with_top, bool skip_special, int64_t& offset);

// vLLM's prompt_logprobs: [null, {"<id>": {"logprob", "rank", "decoded_token"}}, ...]; rank is null for a
// token that is not among the most likely ones asked for.
void append_prompt_logprobs(std::string& out, const Tokenizer& tokenizer,
                            std::span<const OutputToken> tokens);

}  // namespace octet
