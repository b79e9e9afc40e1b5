// Arbitrary chat templates, rendered with messages, tools and all that requests bring.
// octet: link octet_text
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto context = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": " be \"brief\"\n"}, {"role": "user", "content": "Gr\u00fc\u00dfe <b>\ud83d\ude42"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": [1.5, true, null]}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": -9223372036854775808})");
  const auto chat = octet::ChatTemplate::parse(std::string(reinterpret_cast<const char*>(data), size));
  if (!chat.ok()) {
    OCTET_CHECK(!chat.status().message().empty()) << "an error without a message";
    return 0;
  }
  const auto text = chat->render(context);
  const auto again = chat->render(context);
  OCTET_CHECK(text.ok() == again.ok()) << "rendering twice gives different results";
  return 0;
}
