// From a request body to token ids: parsing, the chat template, tokenization and the checks against the
// context. Runs on a worker thread, so that a long prompt holds up nobody; const use of the model only.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "server/openai_request.h"
#include "server/openai_response.h"
#include "server/server.h"

namespace octet {

struct PreparedPrompt {
  std::vector<int32_t> ids;
  std::string text;  // where it is to be echoed
};

// A request ready for the engine.
struct PreparedGeneration {
  ApiKind kind = ApiKind::kChat;
  GenerationFields common;  // sampling as the engine wants it
  std::vector<PreparedPrompt> prompts;
  int32_t best_of = 1;
  bool echo = false;
  bool discard_output = false;  // max_tokens 0: the prompt alone was asked about
  bool with_logprobs = false;   // in the answer; best_of needs them inside in any case
  int32_t n_top = 0;            // of the logprobs in the answer
  bool with_prompt_logprobs = false;
};

template <typename T>
using Prepared = std::variant<T, ApiError>;

RequestRules request_rules(const ServedModel& model, const std::string& served_name);

Prepared<PreparedGeneration> prepare_completion(const std::string& body, const ServedModel& model,
                                                const RequestRules& rules);
Prepared<PreparedGeneration> prepare_chat(const std::string& body, const ServedModel& model,
                                          const RequestRules& rules);
// The answers of /tokenize and /detokenize, as JSON.
Prepared<std::string> tokenize_json(const std::string& body, const ServedModel& model,
                                    const RequestRules& rules);
Prepared<std::string> detokenize_json(const std::string& body, const ServedModel& model,
                                      const RequestRules& rules);

}  // namespace octet
