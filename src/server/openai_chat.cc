#include <algorithm>

#include <fmt/format.h>

#include "server/openai_request.h"

namespace octet {
namespace {

constexpr size_t kMaxMessages = 8192;

// A string as it is; typed text parts joined by a line break, which is what templates made for strings are
// given elsewhere too.
std::optional<std::string> read_content(RequestFields& message, const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) {
    message.fail("content",
                 fmt::format("must be a string or a list of parts, found {}", json_type_name(content)));
    return std::nullopt;
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string name = fmt::format("content[{}]", i);
    const Json& part = content[i];
    if (part.is_string()) {
      text += (i ? "\n" : "") + part.get<std::string>();
      continue;
    }
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      message.fail(name, "must be an object with a 'type'");
      return std::nullopt;
    }
    if (part["type"] != "text") {
      message.fail(name + ".type", "can only be 'text': this server reads no images, sounds or files");
      return std::nullopt;
    }
    RequestFields fields(part, message.path_of(name));
    fields.ignore({"type", "annotations", "cache_control"});
    if (!fields.has("text")) fields.fail("text", "is missing");
    text += (i ? "\n" : "") + fields.string("text", "");
    fields.refuse_unknown();
    if (fields.error()) {
      message.fail(*fields.error());
      return std::nullopt;
    }
  }
  return text;
}

// Arguments come as JSON in a string; templates want the object.
std::optional<Json> read_tool_calls(RequestFields& message, const Json& calls) {
  if (!calls.is_array()) {
    message.fail("tool_calls", fmt::format("must be a list, found {}", json_type_name(calls)));
    return std::nullopt;
  }
  Json result = calls;
  for (size_t i = 0; i < result.size(); ++i) {
    const std::string name = fmt::format("tool_calls[{}].function", i);
    Json& call = result[i];
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object() ||
        !call["function"].contains("name") || !call["function"]["name"].is_string()) {
      message.fail(name, "must be an object with a 'name'");
      return std::nullopt;
    }
    Json& function = call["function"];
    if (!function.contains("arguments")) continue;
    Json& arguments = function["arguments"];
    if (arguments.is_string()) {
      Json parsed = Json::object();
      const auto text = arguments.get<std::string>();
      if (!text.empty() && parse_json_object(text, parsed)) {
        message.fail(name + ".arguments", "must be a JSON object in a string");
        return std::nullopt;
      }
      arguments = std::move(parsed);
    } else if (!arguments.is_object()) {
      message.fail(name + ".arguments", "must be a JSON object in a string");
      return std::nullopt;
    }
  }
  return result;
}

std::optional<ApiError> read_message(const Json& json, const std::string& path, Json& out) {
  if (!json.is_object()) {
    return bad_field(path, fmt::format("'{}' must be an object, found {}", path, json_type_name(json)));
  }
  RequestFields fields(json, path);
  std::string role = fields.string("role", "");
  if (role == "developer") role = "system";  // OpenAI's newer word for it
  if (role.empty()) fields.fail("role", "is missing");
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    fields.fail("role", "must be one of 'system', 'developer', 'user', 'assistant', 'tool'");
  }
  out["role"] = role;
  const Json* calls = fields.find("tool_calls");
  const bool has_calls = calls != nullptr && !calls->empty();
  if (const Json* content = fields.find("content")) {
    if (auto text = read_content(fields, *content)) out["content"] = std::move(*text);
  } else if (role == "assistant") {
    out["content"] = "";
  } else {
    fields.fail("content", "is missing");
  }
  if (has_calls) {
    if (role != "assistant") fields.fail("tool_calls", "belongs to assistant messages");
    if (auto read = read_tool_calls(fields, *calls)) out["tool_calls"] = std::move(*read);
  }
  for (const char* name : {"name", "tool_call_id", "reasoning_content"}) {
    if (fields.has(name)) out[name] = fields.string(name, "");
  }
  fields.ignore(
      {"annotations", "refusal", "id", "status"});  // parts of an answer, given back with the history
  fields.refuse_unless("audio", nullptr, "is not supported by this server");
  fields.refuse_unless("function_call", nullptr, "is the old form; use 'tool_calls'");
  fields.refuse_unknown();
  return fields.error();
}

void read_tools(RequestFields& fields, Json& tools) {
  const Json* choice = fields.find("tool_choice");
  const bool none = choice != nullptr && *choice == "none";
  if (choice != nullptr && !none && *choice != "auto") {
    fields.fail("tool_choice", "can only be 'none' or 'auto': this server cannot force a tool call");
  }
  fields.refuse_unless("functions", Json::array(), "is the old form; use 'tools'");
  fields.refuse_unless("function_call", "none", "is the old form; use 'tool_choice'");
  const Json* list = fields.find("tools");
  if (list == nullptr) return;
  if (!list->is_array())
    return fields.fail("tools", fmt::format("must be a list, found {}", json_type_name(*list)));
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& tool = (*list)[i];
    const std::string name = fmt::format("tools[{}]", i);
    if (!tool.is_object() || !tool.contains("type") || tool["type"] != "function") {
      return fields.fail(name, "must be an object of the type 'function'");
    }
    if (!tool.contains("function") || !tool["function"].is_object() || !tool["function"].contains("name") ||
        !tool["function"]["name"].is_string()) {
      return fields.fail(name + ".function", "must be an object with a 'name'");
    }
  }
  if (!none && !list->empty()) tools = *list;
}

void read_template_options(RequestFields& fields, Conversation& out) {
  out.continue_final_message = fields.boolean("continue_final_message", false);
  out.add_generation_prompt = fields.boolean("add_generation_prompt", !out.continue_final_message);
  if (out.continue_final_message && out.add_generation_prompt) {
    fields.fail("continue_final_message", "contradicts 'add_generation_prompt': true");
  }
  if (const Json* kwargs = fields.find("chat_template_kwargs")) {
    if (!kwargs->is_object()) {
      return fields.fail("chat_template_kwargs",
                         fmt::format("must be an object, found {}", json_type_name(*kwargs)));
    }
    for (const char* own : {"messages", "tools", "add_generation_prompt"}) {
      if (kwargs->contains(own)) fields.fail("chat_template_kwargs", fmt::format("must not hold '{}'", own));
    }
    out.template_kwargs = *kwargs;
  }
  fields.refuse_unless("chat_template", nullptr, "is not taken from requests; the model's own is used");
  fields.refuse_unless("documents", Json::array(), "is not supported by this server");
}

}  // namespace

void read_conversation(RequestFields& fields, Conversation& out) {
  out.messages = Json::array();
  const Json* messages = fields.find("messages");
  if (messages == nullptr) return fields.fail("messages", "is missing");
  if (!messages->is_array()) {
    return fields.fail("messages", fmt::format("must be a list, found {}", json_type_name(*messages)));
  }
  if (messages->empty()) return fields.fail("messages", "is an empty list");
  if (messages->size() > kMaxMessages) {
    return fields.fail("messages", fmt::format("holds {} messages, more than the {} that are possible",
                                               messages->size(), kMaxMessages));
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    Json message = Json::object();
    if (auto error = read_message((*messages)[i], fmt::format("messages[{}]", i), message)) {
      return fields.fail(std::move(*error));
    }
    out.messages.push_back(std::move(message));
  }
  read_tools(fields, out.tools);
  read_template_options(fields, out);
}

std::optional<ApiError> parse_chat_request(std::string_view body, const RequestRules& rules,
                                           ChatRequest& out) {
  Json json;
  if (auto error = parse_json_object(body, json)) return error;
  RequestFields fields(json);
  GenerationFields& common = out.common;
  read_model(fields, rules);
  read_conversation(fields, out.conversation);
  read_generation_fields(fields, rules, common);
  // The template writes the special tokens itself.
  common.add_special_tokens = fields.boolean("add_special_tokens", false);
  const bool logprobs = fields.boolean("logprobs", false);
  const auto top = static_cast<int32_t>(fields.integer("top_logprobs", 0, 0, kMaxLogprobs));
  if (top > 0 && !logprobs) fields.fail("top_logprobs", "is only possible with 'logprobs': true");
  if (logprobs) common.sampling.n_logprobs = top;
  if (common.has_max_tokens && common.sampling.max_tokens == 0) {
    fields.fail("max_tokens", "must be at least 1");
  }
  fields.refuse_unless("echo", false, "is not supported in chats");
  fields.refuse_unless("modalities", Json::array({"text"}), "can only be [\"text\"]");
  fields.refuse_unless("reasoning_effort", nullptr, "is not supported by this server");
  fields.refuse_unless("audio", nullptr, "is not supported by this server");
  fields.ignore({"parallel_tool_calls", "prediction"});
  fields.refuse_unknown();
  return fields.error();
}

std::optional<ApiError> parse_tokenize_request(std::string_view body, const RequestRules& rules,
                                               TokenizeRequest& out) {
  Json json;
  if (auto error = parse_json_object(body, json)) return error;
  RequestFields fields(json);
  read_model(fields, rules);
  const bool chat = fields.has("messages");
  if (chat) {
    if (fields.has("prompt")) fields.fail("prompt", "and 'messages' cannot both be given");
    read_conversation(fields, out.input.emplace<Conversation>());
  } else {
    if (!fields.has("prompt")) fields.fail("prompt", "is missing (or 'messages')");
    out.input = fields.string("prompt", "");
  }
  out.add_special_tokens = fields.boolean("add_special_tokens", !chat);
  out.return_token_strings = fields.boolean("return_token_strs", false);
  fields.refuse_unknown();
  return fields.error();
}

std::optional<ApiError> parse_detokenize_request(std::string_view body, const RequestRules& rules,
                                                 DetokenizeRequest& out) {
  Json json;
  if (auto error = parse_json_object(body, json)) return error;
  RequestFields fields(json);
  read_model(fields, rules);
  if (!fields.has("tokens")) fields.fail("tokens", "is missing");
  out.tokens = fields.integers("tokens", 0, rules.vocab_size - 1);
  fields.refuse_unknown();
  return fields.error();
}

}  // namespace octet
