#include "server/openai_response.h"

#include "server/json_text.h"

namespace octet {
namespace {

// `"id":...,"object":...,"created":...,"model":...`, without braces.
std::string head_members(const ResponseHead& head, std::string_view object) {
  std::string out = R"("id":)";
  append_json_string(out, head.id);
  out += R"(,"object":)";
  append_json_string(out, object);
  out += R"(,"created":)";
  append_json_integer(out, head.created);
  out += R"(,"model":)";
  append_json_string(out, head.model);
  return out;
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i) out += ',';
    append_json_integer(out, ids[i]);
  }
  out += ']';
}

void append_choice(std::string& out, ApiKind kind, const ChoiceAnswer& choice) {
  out += R"({"index":)";
  append_json_integer(out, choice.index);
  if (kind == ApiKind::kChat) {
    out += R"(,"message":{"role":"assistant","content":)";
    append_json_string(out, choice.text);
    out += R"(,"refusal":null})";
  } else {
    out += R"(,"text":)";
    append_json_string(out, choice.text);
  }
  out += R"(,"logprobs":)";
  out += choice.logprobs_json;
  out += R"(,"finish_reason":)";
  append_json_string(out, choice.finish_reason);
  out += R"(,"stop_reason":)";
  out += choice.stop_reason_json;
  if (choice.with_token_ids) {
    out += R"(,"token_ids":)";
    append_ids(out, choice.token_ids);
  }
  if (kind == ApiKind::kCompletion) {
    if (choice.with_token_ids) {
      out += R"(,"prompt_token_ids":)";
      append_ids(out, choice.prompt_token_ids);
    }
    if (!choice.prompt_logprobs_json.empty()) {
      out += R"(,"prompt_logprobs":)";
      out += choice.prompt_logprobs_json;
    }
  }
  out += '}';
}

}  // namespace

void append_usage_json(std::string& out, const Usage& usage) {
  out += R"({"prompt_tokens":)";
  append_json_integer(out, usage.prompt_tokens);
  out += R"(,"completion_tokens":)";
  append_json_integer(out, usage.completion_tokens);
  out += R"(,"total_tokens":)";
  append_json_integer(out, usage.prompt_tokens + usage.completion_tokens);
  out += R"(,"prompt_tokens_details":{"cached_tokens":)";
  append_json_integer(out, usage.cached_tokens);
  out += "}}";
}

std::string completion_json(const ResponseHead& head, const std::vector<ChoiceAnswer>& choices,
                            const Usage& usage) {
  const bool chat = head.kind == ApiKind::kChat;
  std::string out =
      "{" + head_members(head, chat ? "chat.completion" : "text_completion") + R"(,"choices":[)";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i) out += ',';
    append_choice(out, head.kind, choices[i]);
  }
  out += R"(],"usage":)";
  append_usage_json(out, usage);
  // A chat has one prompt: what belongs to it stands beside the choices.
  if (chat && !choices.empty()) {
    if (choices[0].with_token_ids) {
      out += R"(,"prompt_token_ids":)";
      append_ids(out, choices[0].prompt_token_ids);
    }
    if (!choices[0].prompt_logprobs_json.empty()) {
      out += R"(,"prompt_logprobs":)" + choices[0].prompt_logprobs_json;
    }
  }
  out += '}';
  return out;
}

ChunkWriter::ChunkWriter(const ResponseHead& head, bool include_usage)
    : kind_(head.kind), include_usage_(include_usage) {
  head_ = "data: {" +
          head_members(head, kind_ == ApiKind::kChat ? "chat.completion.chunk" : "text_completion") +
          R"(,"choices":[)";
  opening_ = head_ + R"({"index":)";
}

void ChunkWriter::append_end(std::string& out, const Usage* usage) const {
  out += "}]";
  if (usage != nullptr) {
    out += R"(,"usage":)";
    append_usage_json(out, *usage);
  } else if (include_usage_) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void ChunkWriter::append_role(std::string& out, int32_t index, const Usage* usage) const {
  out += opening_;
  append_json_integer(out, index);
  out += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null)";
  append_end(out, usage);
}

void ChunkWriter::append_delta(std::string& out, const ChoiceDelta& delta) const {
  out += opening_;
  append_json_integer(out, delta.index);
  if (kind_ == ApiKind::kChat) {
    out += R"(,"delta":{)";
    // The last chunk often brings no text: then its delta is empty.
    if (!delta.text.empty() || delta.finish_reason.empty()) {
      out += R"("content":")";
      append_json_escaped(out, delta.text);
      out += '"';
    }
    out += '}';
  } else {
    out += R"(,"text":")";
    append_json_escaped(out, delta.text);
    out += '"';
  }
  out += R"(,"logprobs":)";
  out += delta.logprobs_json;
  if (delta.finish_reason.empty()) {
    out += R"(,"finish_reason":null)";
  } else {
    out += R"(,"finish_reason":")";
    out += delta.finish_reason;
    out += R"(","stop_reason":)";
    out += delta.stop_reason_json;
  }
  if (delta.with_token_ids) {
    out += R"(,"token_ids":)";
    append_ids(out, delta.token_ids);
  }
  append_end(out, delta.usage);
}

void ChunkWriter::append_usage(std::string& out, const Usage& usage) const {
  out += head_;
  out += R"(],"usage":)";
  append_usage_json(out, usage);
  out += "}\n\n";
}

void ChunkWriter::append_error(std::string& out, std::string_view error_json) {
  out += "data: ";
  out += error_json;
  out += "\n\n";
}

void ChunkWriter::append_done(std::string& out) {
  out += "data: [DONE]\n\n";
}

}  // namespace octet
