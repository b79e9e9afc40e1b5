// Chat templates: a subset of Jinja2 large enough for those of Llama, SmolLM2, Mistral and Qwen, tools
// included. Settings are those of Hugging Face transformers: trim_blocks, lstrip_blocks, `tojson` without
// HTML escapes, `raise_exception`, `strftime_now`, loop controls, `{% generation %}` passed through. A
// construct that is not there is an error when the template is loaded, never a wrong prompt.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace octet {

class ChatTemplate {
 public:
  // Errors: kUnsupported / kInvalidArgument with line and construct.
  static Result<ChatTemplate> parse(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // context: `messages`, `tools` (may be absent), `add_generation_prompt`, `bos_token`, `eos_token`, and
  // whatever the request's chat_template_kwargs hold. Object keys keep their order (hence ordered_json).
  // Errors: kInvalidArgument with the template's own raise_exception text, or what failed and on which line.
  Result<std::string> render(const nlohmann::ordered_json& context) const;

  const std::string& source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
