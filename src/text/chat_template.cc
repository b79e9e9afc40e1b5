#include "text/chat_template.h"

#include <utility>

#include "text/jinja_ast.h"
#include "text/jinja_interpreter.h"
#include "text/utf8.h"

namespace octet {

struct ChatTemplate::Impl {
  std::string source;
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

const std::string& ChatTemplate::source() const {
  return impl_->source;
}

Result<ChatTemplate> ChatTemplate::parse(const std::string& source) {
  if (!is_valid_utf8(source)) return invalid_argument("chat template: not UTF-8");
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  try {
    impl->body = jinja::parse(source);
  } catch (const jinja::Error& error) {
    return Status(error.code, "chat template, " + error.message);
  }
  return ChatTemplate(std::move(impl));
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context) const {
  if (!context.is_object()) return invalid_argument("chat template: the context must be an object");
  jinja::Interpreter interpreter;
  try {
    for (const auto& [name, value] : context.items()) interpreter.define(name, jinja::from_json(value));
    return interpreter.render(impl_->body);
  } catch (const jinja::Error& error) {
    if (error.raised) return Status(error.code, error.message);
    return Status(error.code,
                  "chat template, line " + std::to_string(interpreter.line()) + ": " + error.message);
  }
}

}  // namespace octet
