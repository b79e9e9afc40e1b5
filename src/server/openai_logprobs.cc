#include <cmath>

#include "server/json_text.h"
#include "server/openai_response.h"
#include "text/utf8.h"

namespace octet {
namespace {

// `"token":...,"logprob":...,"bytes":[...]`
void append_chat_entry(std::string& out, const Tokenizer& tokenizer, int32_t token, float logprob) {
  out += R"("token":)";
  append_json_string(out, token_label(tokenizer, token));
  out += R"(,"logprob":)";
  append_json_float(out, logprob);
  out += R"(,"bytes":[)";
  bool first = true;
  for (const char c : tokenizer.token_bytes(token)) {
    if (!first) out += ',';
    first = false;
    append_json_integer(out, static_cast<unsigned char>(c));
  }
  out += ']';
}

bool contains(const std::vector<TokenLogprob>& top, int32_t token) {
  for (const auto& entry : top) {
    if (entry.token == token) return true;
  }
  return false;
}

void append_ranked(std::string& out, const Tokenizer& tokenizer, int32_t token, float logprob, int rank) {
  out += '"';
  append_json_integer(out, token);
  out += R"(":{"logprob":)";
  append_json_float(out, logprob);
  out += R"(,"rank":)";
  out += rank > 0 ? std::to_string(rank) : "null";
  out += R"(,"decoded_token":)";
  append_json_string(out, token_label(tokenizer, token));
  out += '}';
}

}  // namespace

std::string token_label(const Tokenizer& tokenizer, int32_t token) {
  const std::string bytes = tokenizer.token_bytes(token);
  if (is_valid_utf8(bytes)) return bytes;
  static constexpr char kHex[] = "0123456789abcdef";
  std::string label = "bytes:";
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    label += {'\\', 'x', kHex[b >> 4], kHex[b & 15]};
  }
  return label;
}

void append_chat_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens) {
  out += R"({"content":[)";
  for (size_t i = 0; i < tokens.size(); ++i) {
    out += i ? ",{" : "{";
    append_chat_entry(out, tokenizer, tokens[i].token, tokens[i].logprob);
    out += R"(,"top_logprobs":[)";
    for (size_t k = 0; k < tokens[i].top.size(); ++k) {
      out += k ? ",{" : "{";
      append_chat_entry(out, tokenizer, tokens[i].top[k].token, tokens[i].top[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += R"(],"refusal":null})";
}

void append_legacy_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens,
                            bool with_top, bool skip_special, int64_t& offset) {
  std::string names = "[", values = "[", tops = "[", offsets = "[";
  for (size_t i = 0; i < tokens.size(); ++i) {
    const OutputToken& t = tokens[i];
    const bool known = !std::isnan(t.logprob);
    if (i) {
      for (std::string* list : {&names, &values, &tops, &offsets}) *list += ',';
    }
    const std::string label = token_label(tokenizer, t.token);
    append_json_string(names, label);
    append_json_integer(offsets, offset);
    if (!(skip_special && tokenizer.is_special(t.token))) {
      offset +=
          static_cast<int64_t>(utf8_length(tokenizer.token_bytes(t.token)));  // characters that begin here
    }
    if (!known) {
      values += "null";
      tops += "null";
      continue;
    }
    append_json_float(values, t.logprob);
    tops += '{';
    for (const auto& entry : t.top) {
      append_json_string(tops, token_label(tokenizer, entry.token));
      tops += ':';
      append_json_float(tops, entry.logprob);
      tops += ',';
    }
    if (!contains(t.top, t.token)) {
      append_json_string(tops, label);
      tops += ':';
      append_json_float(tops, t.logprob);
    } else {
      tops.pop_back();
    }
    tops += '}';
  }
  out += R"({"tokens":)" + names + R"(],"token_logprobs":)" + values + R"(],"top_logprobs":)";
  out += with_top ? tops + "]" : "null";
  out += R"(,"text_offset":)" + offsets + "]}";
}

void append_prompt_logprobs(std::string& out, const Tokenizer& tokenizer,
                            std::span<const OutputToken> tokens) {
  out += "[null";
  for (const OutputToken& t : tokens) {
    out += ",{";
    int rank = 0, own_rank = 0;
    for (const auto& entry : t.top) {
      if (rank++) out += ',';
      append_ranked(out, tokenizer, entry.token, entry.logprob, rank);
      if (entry.token == t.token) own_rank = rank;
    }
    if (own_rank == 0) {
      if (rank) out += ',';
      append_ranked(out, tokenizer, t.token, t.logprob, 0);
    }
    out += '}';
  }
  out += ']';
}

}  // namespace octet
