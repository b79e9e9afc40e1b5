// The requests of the OpenAI API (and vLLM's additions to it) as plain structs: parsed and validated, no
// HTTP, no engine. Every error names the field.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/request.h"
#include "formats/model_config.h"
#include "server/request_fields.h"

namespace octet {

// What the parsers must know about the model.
struct RequestRules {
  std::string model_name;  // what `model` must say, where it is given
  GenerationDefaults defaults;
  int32_t vocab_size = 0;
};

struct StreamOptions {
  bool include_usage = false;     // one more chunk at the end, with the usage of the whole request
  bool continuous_usage = false;  // vLLM's continuous_usage_stats: the usage so far in every chunk
};

// What completions and chat have in common.
struct GenerationFields {
  SamplingParams sampling;  // max_tokens as asked for; see has_max_tokens
  bool has_max_tokens = false;
  int32_t n = 1;
  int32_t priority = 0;
  bool stream = false;
  StreamOptions stream_options;
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool add_special_tokens = true;
  bool return_token_ids = false;
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  GenerationFields common;
  std::vector<Prompt> prompts;
  bool echo = false;
  int32_t best_of = 1;  // >= n
};

// What a chat template renders.
struct Conversation {
  Json messages;  // contents are strings; tool call arguments are objects
  Json tools;     // null: none
  Json template_kwargs = Json::object();
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct ChatRequest {
  GenerationFields common;
  Conversation conversation;
};

// /tokenize: a prompt, or a conversation.
struct TokenizeRequest {
  std::variant<std::string, Conversation> input;
  bool add_special_tokens = true;
  bool return_token_strings = false;
};

struct DetokenizeRequest {
  std::vector<int32_t> tokens;
};

std::optional<ApiError> parse_completion_request(std::string_view body, const RequestRules& rules,
                                                 CompletionRequest& out);
std::optional<ApiError> parse_chat_request(std::string_view body, const RequestRules& rules,
                                           ChatRequest& out);
std::optional<ApiError> parse_tokenize_request(std::string_view body, const RequestRules& rules,
                                               TokenizeRequest& out);
std::optional<ApiError> parse_detokenize_request(std::string_view body, const RequestRules& rules,
                                                 DetokenizeRequest& out);

// The parts of the parsers that have a file of their own.
void read_model(RequestFields& fields, const RequestRules& rules);
void read_generation_fields(RequestFields& fields, const RequestRules& rules, GenerationFields& out);
// messages, tools and the template's options, as /v1/chat/completions and /tokenize take them.
void read_conversation(RequestFields& fields, Conversation& out);

}  // namespace octet
