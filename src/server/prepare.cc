#include "server/prepare.h"

#include <algorithm>

#include <fmt/format.h>

#include "server/json_text.h"

namespace octet {
namespace {

constexpr int32_t kDefaultCompletionTokens = 16;  // OpenAI's

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == text.npos ? "" : text.substr(begin, end - begin + 1);
}

// Everything that the template puts after the last message is cut off, so that the model goes on with it.
std::optional<ApiError> cut_after_final_message(const Json& messages, std::string& text) {
  const Json& last = messages.back();
  const std::string content = last.contains("content") ? last["content"].get<std::string>() : "";
  const std::string core = trimmed(content);
  const size_t at = core.empty() ? std::string::npos : text.rfind(core);
  if (at == std::string::npos) {
    return bad_field("continue_final_message",
                     "'continue_final_message' needs a last message with text that the chat "
                     "template writes as it is");
  }
  size_t end = at + core.size();
  // Templates that keep the blanks after the text keep them here too.
  const std::string tail = content.substr(content.find(core) + core.size());
  if (text.compare(end, tail.size(), tail) == 0) end += tail.size();
  text.resize(end);
  return std::nullopt;
}

Prepared<std::string> render(const Conversation& conversation, const ServedModel& model) {
  if (model.chat_template == nullptr) {
    return bad_field("messages", "this model has no chat template; use /v1/completions");
  }
  Json context = conversation.template_kwargs;
  context["messages"] = conversation.messages;
  if (!conversation.tools.is_null()) context["tools"] = conversation.tools;
  context["add_generation_prompt"] = conversation.add_generation_prompt;
  context["bos_token"] = model.tokenizer.bos_token();
  context["eos_token"] = model.tokenizer.eos_token();
  Result<std::string> text = model.chat_template->render(context);
  if (!text.ok())
    return bad_field("messages", "the chat template refused the messages: " + text.status().message());
  if (conversation.continue_final_message) {
    if (auto error = cut_after_final_message(conversation.messages, *text)) return *error;
  }
  return std::move(text).value();
}

ApiError too_long(const char* param, std::string message) {
  ApiError error = bad_field(param, std::move(message));
  error.code = "context_length_exceeded";
  return error;
}

// Fills in max_tokens; `absent` is its default, 0 for all that fits.
std::optional<ApiError> fit_context(PreparedGeneration& p, int32_t max_context, const char* prompt_field,
                                    int32_t absent) {
  size_t longest = 0;
  for (const auto& prompt : p.prompts) {
    if (prompt.ids.empty()) return bad_field(prompt_field, fmt::format("'{}' holds no token", prompt_field));
    longest = std::max(longest, prompt.ids.size());
  }
  if (longest >= static_cast<size_t>(max_context)) {
    return too_long(prompt_field,
                    fmt::format("the prompt has {} tokens; the context of this server is {} tokens, prompt "
                                "and answer together",
                                longest, max_context));
  }
  SamplingParams& s = p.common.sampling;
  const int32_t room = max_context - static_cast<int32_t>(longest);
  if (!p.common.has_max_tokens) {
    s.max_tokens = absent == 0 ? room : std::min(absent, room);
  } else if (s.max_tokens > room) {
    return too_long("max_tokens",
                    fmt::format("the prompt has {} tokens and 'max_tokens' is {}; the context of this "
                                "server is {} tokens, prompt and answer together",
                                longest, s.max_tokens, max_context));
  }
  p.discard_output = s.max_tokens == 0;
  s.max_tokens = std::max(s.max_tokens, 1);
  if (s.min_tokens > s.max_tokens) {
    return bad_field("min_tokens",
                     fmt::format("'min_tokens' ({}) is more than the {} tokens that may be generated",
                                 s.min_tokens, s.max_tokens));
  }
  return std::nullopt;
}

// What the answer shows, and what the engine must be asked for to show it.
void plan_logprobs(PreparedGeneration& p) {
  SamplingParams& s = p.common.sampling;
  p.with_prompt_logprobs = s.prompt_logprobs >= 0;
  p.with_logprobs = s.n_logprobs >= 0;
  p.n_top = std::max(s.n_logprobs, 0);
  if (p.echo && p.with_logprobs) s.prompt_logprobs = std::max(s.prompt_logprobs, s.n_logprobs);
  if (p.best_of > p.common.n) s.n_logprobs = std::max(s.n_logprobs, 0);
}

}  // namespace

RequestRules request_rules(const ServedModel& model, const std::string& served_name) {
  return {served_name, model.defaults, model.vocab_size};
}

Prepared<PreparedGeneration> prepare_completion(const std::string& body, const ServedModel& model,
                                                const RequestRules& rules) {
  CompletionRequest request;
  if (auto error = parse_completion_request(body, rules, request)) return *error;
  PreparedGeneration p;
  p.kind = ApiKind::kCompletion;
  p.common = std::move(request.common);
  p.best_of = request.best_of;
  p.echo = request.echo;
  for (Prompt& prompt : request.prompts) {
    PreparedPrompt ready;
    if (auto* text = std::get_if<std::string>(&prompt)) {
      ready.ids = model.tokenizer.encode(*text, {.add_special_tokens = p.common.add_special_tokens});
      if (p.echo) ready.text = std::move(*text);
    } else {
      ready.ids = std::move(std::get<std::vector<int32_t>>(prompt));
      if (p.echo) ready.text = model.tokenizer.decode(ready.ids, p.common.skip_special_tokens);
    }
    p.prompts.push_back(std::move(ready));
  }
  if (auto error = fit_context(p, model.engine.max_context(), "prompt", kDefaultCompletionTokens))
    return *error;
  plan_logprobs(p);
  return p;
}

Prepared<PreparedGeneration> prepare_chat(const std::string& body, const ServedModel& model,
                                          const RequestRules& rules) {
  ChatRequest request;
  if (auto error = parse_chat_request(body, rules, request)) return *error;
  Prepared<std::string> text = render(request.conversation, model);
  if (auto* error = std::get_if<ApiError>(&text)) return *error;
  PreparedGeneration p;
  p.kind = ApiKind::kChat;
  p.common = std::move(request.common);
  p.best_of = p.common.n;
  p.prompts.push_back({model.tokenizer.encode(std::get<std::string>(text),
                                              {.add_special_tokens = p.common.add_special_tokens}),
                       ""});
  if (auto error = fit_context(p, model.engine.max_context(), "messages", 0)) return *error;
  plan_logprobs(p);
  return p;
}

Prepared<std::string> tokenize_json(const std::string& body, const ServedModel& model,
                                    const RequestRules& rules) {
  TokenizeRequest request;
  if (auto error = parse_tokenize_request(body, rules, request)) return *error;
  std::string text;
  if (auto* conversation = std::get_if<Conversation>(&request.input)) {
    Prepared<std::string> rendered = render(*conversation, model);
    if (auto* error = std::get_if<ApiError>(&rendered)) return *error;
    text = std::get<std::string>(std::move(rendered));
  } else {
    text = std::get<std::string>(std::move(request.input));
  }
  const auto ids = model.tokenizer.encode(text, {.add_special_tokens = request.add_special_tokens});
  std::string out = R"({"count":)";
  append_json_integer(out, static_cast<int64_t>(ids.size()));
  out += R"(,"max_model_len":)";
  append_json_integer(out, model.engine.max_context());
  out += R"(,"tokens":[)";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i) out += ',';
    append_json_integer(out, ids[i]);
  }
  out += R"(],"token_strs":)";
  if (request.return_token_strings) {
    for (size_t i = 0; i < ids.size(); ++i) {
      out += i ? "," : "[";
      append_json_string(out, model.tokenizer.token_text(ids[i]));
    }
    out += ids.empty() ? "[]" : "]";
  } else {
    out += "null";
  }
  out += '}';
  return out;
}

Prepared<std::string> detokenize_json(const std::string& body, const ServedModel& model,
                                      const RequestRules& rules) {
  DetokenizeRequest request;
  if (auto error = parse_detokenize_request(body, rules, request)) return *error;
  std::string out = R"({"prompt":)";
  append_json_string(out, model.tokenizer.decode(request.tokens, false));
  out += '}';
  return out;
}

}  // namespace octet
