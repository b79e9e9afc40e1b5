#include "bench/sse_reader.h"

#include <simdjson.h>

namespace octet {
namespace {

using simdjson::dom::element;

bool has_text(const element& choice) {
  std::string_view text;
  if (choice["text"].get(text) == simdjson::SUCCESS) return true;
  element delta;
  if (choice["delta"].get(delta) != simdjson::SUCCESS) return false;
  for (const char* field : {"content", "reasoning_content", "reasoning"}) {
    if (delta[field].get(text) == simdjson::SUCCESS && !text.empty()) return true;
  }
  return delta["tool_calls"].is_array();
}

int64_t count(const element& usage, const char* field) {
  int64_t n = -1;
  return usage[field].get(n) == simdjson::SUCCESS ? n : -1;
}

}  // namespace

SseReader::Event SseReader::parse(std::string_view data) {
  Event event;
  while (data.starts_with(' ')) data.remove_prefix(1);
  if (data == "[DONE]") {
    event.done = true;
    return event;
  }
  thread_local simdjson::dom::parser parser;
  element root;
  if (parser.parse(data.data(), data.size()).get(root) != simdjson::SUCCESS || !root.is_object()) {
    event.error = "an event is no JSON object: " + std::string(data.substr(0, 80));
    return event;
  }
  element part;
  if (root["error"].get(part) == simdjson::SUCCESS && !part.is_null()) {
    std::string_view message;
    event.error =
        part["message"].get(message) == simdjson::SUCCESS ? std::string(message) : simdjson::minify(part);
    return event;
  }
  if (root["usage"].get(part) == simdjson::SUCCESS && part.is_object()) {
    event.prompt_tokens = count(part, "prompt_tokens");
    event.completion_tokens = count(part, "completion_tokens");
  }
  simdjson::dom::array choices;
  if (root["choices"].get(choices) == simdjson::SUCCESS) {
    for (const element choice : choices) {
      event.has_text = event.has_text || has_text(choice);
      event.done = event.done || choice["finish_reason"].is_string();
    }
  }
  return event;
}

}  // namespace octet
