// Bodies of the OpenAI API: whatever the bytes, a request comes out or an error that can be sent. The first
// byte picks the endpoint.
//
// octet: link octet_server
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "server/http_text.h"
#include "server/openai_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octet;
  if (size == 0) return 0;
  const RequestRules rules{"model", {}, 32000};
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::optional<ApiError> error;
  CompletionRequest completion;
  ChatRequest chat;
  TokenizeRequest tokenize;
  DetokenizeRequest detokenize;
  switch (data[0] % 5) {
    case 0:
      error = parse_completion_request(body, rules, completion);
      break;
    case 1:
      error = parse_chat_request(body, rules, chat);
      break;
    case 2:
      error = parse_tokenize_request(body, rules, tokenize);
      break;
    case 3:
      error = parse_detokenize_request(body, rules, detokenize);
      break;
    default:
      decode_path(body);
      return 0;
  }
  if (!error) return 0;
  const nlohmann::json sent = nlohmann::json::parse(to_json(*error));  // throws where it is no valid JSON
  if (error->status < 400 || sent["error"]["message"].get<std::string>().empty()) std::abort();
  return 0;
}
