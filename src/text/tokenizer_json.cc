// Reads the tokenizer.json of Hugging Face's tokenizers library (https://github.com/huggingface/tokenizers):
// {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}.
#include <optional>

#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "text/tokenizer_json_steps.h"
#include "text/tokenizer_parts.h"

namespace octet {

namespace {

using Json = simdjson::dom::element;

Result<AddedToken> parse_added_token(const Json& json) {
  AddedToken token;
  const auto id = json_int(json, "id");
  const auto content = json_string(json, "content");
  if (!id || *id < 0 || *id > INT32_MAX || !content || content->empty()) {
    return corrupt("added_tokens: expected entries with an id and a content");
  }
  token.id = static_cast<int32_t>(*id);
  token.content = *content;
  token.special = json_bool(json, "special", false);
  token.single_word = json_bool(json, "single_word", false);
  token.lstrip = json_bool(json, "lstrip", false);
  token.rstrip = json_bool(json, "rstrip", false);
  token.normalized = json_bool(json, "normalized", !token.special);
  token.as_spelled = token.special;
  return token;
}

// Ids address arrays, so they may not lie far beyond the number of tokens.
Status check_id(int64_t id, size_t n_tokens, std::string_view token) {
  const auto limit = static_cast<int64_t>(2 * n_tokens + (64 << 10));
  if (id >= 0 && id < limit) return {};
  return corrupt("token '" + std::string(token) + "': expected an id in [0, " + std::to_string(limit) +
                 "), found " + std::to_string(id));
}

Status parse_vocabulary(const Json& model, size_t n_added, Vocabulary* vocabulary) {
  simdjson::dom::object entries;
  if (model["vocab"].get(entries)) return corrupt("model.vocab: expected an object of token: id");
  for (const auto& [text, value] : entries) {
    int64_t id = -1;
    if (value.get(id))
      return corrupt("model.vocab: token '" + std::string(text) + "': expected an integer id");
    OCTET_RETURN_IF_ERROR(check_id(id, entries.size() + n_added, text));
    if (!vocabulary->add(static_cast<int32_t>(id), text)) {
      return corrupt("model.vocab: tokens '" + std::string(vocabulary->text(static_cast<int32_t>(id))) +
                     "' and '" + std::string(text) + "' have the same id " + std::to_string(id));
    }
  }
  return {};
}

// "left right", or ["left", "right"].
std::optional<std::pair<std::string_view, std::string_view>> parse_merge(const Json& json) {
  std::string_view left, right;
  simdjson::dom::array pair;
  if (!json.get(left)) {
    const size_t space = left.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    return std::pair{left.substr(0, space), left.substr(space + 1)};
  }
  if (json.get(pair) || pair.size() != 2 || pair.at(0).get(left) || pair.at(1).get(right))
    return std::nullopt;
  return std::pair{left, right};
}

Result<BpeOptions> parse_options(const Json& model, const Vocabulary& vocabulary) {
  BpeOptions options;
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!json_string(model, key).value_or("").empty()) return unsupported(std::string("model.") + key);
  }
  if (double dropout = 0; !model["dropout"].get(dropout) && dropout != 0) return unsupported("model.dropout");
  options.ignore_merges = json_bool(model, "ignore_merges", false);
  options.byte_fallback = json_bool(model, "byte_fallback", false);
  options.fuse_unknown = json_bool(model, "fuse_unk", false);
  if (const auto unknown = json_string(model, "unk_token")) {
    options.unknown = vocabulary.find(*unknown);
    if (options.unknown < 0 || unknown->empty())
      return corrupt("model.unk_token '" + std::string(*unknown) + "' is not in the vocabulary");
  }
  return options;
}

Status parse_model(const Json& model, size_t n_added, TokenizerParts* parts) {
  const std::string type(json_string(model, "type").value_or("BPE"));
  if (type != "BPE") return unsupported("model type '" + type + "' (only BPE is)");
  OCTET_RETURN_IF_ERROR(parse_vocabulary(model, n_added, &parts->vocabulary));
  OCTET_ASSIGN_OR_RETURN(const BpeOptions options, parse_options(model, parts->vocabulary));
  simdjson::dom::array merges;
  if (model["merges"].get(merges)) return corrupt("model.merges: expected an array");
  RankedBpe bpe(parts->vocabulary, options, merges.size());
  size_t n = 0;
  for (const Json& json : merges) {
    const auto merge = parse_merge(json);
    if (!merge || !bpe.add_merge(parts->vocabulary, merge->first, merge->second)) {
      return corrupt("model.merges: entry " + std::to_string(n) +
                     ": expected two tokens whose concatenation is a token, found " + simdjson::minify(json));
    }
    ++n;
  }
  parts->description = std::string(options.byte_fallback ? "BPE with byte fallback" : "BPE") + ", " +
                       std::to_string(parts->vocabulary.size()) + " tokens, " + std::to_string(n) +
                       " merges, " + std::to_string(n_added) + " added tokens (tokenizer.json)";
  parts->model = std::move(bpe);
  return {};
}

Status add_tokens(std::vector<AddedToken> tokens, TokenizerParts* parts) {
  const size_t n_tokens = static_cast<size_t>(parts->vocabulary.size()) + tokens.size();
  for (AddedToken& token : tokens) {
    OCTET_RETURN_IF_ERROR(check_id(token.id, n_tokens, token.content));
    const int32_t known = parts->vocabulary.find(token.content);
    const AddedToken* other = parts->added.find(token.id);
    if (other != nullptr && other->content == token.content) continue;
    if (other != nullptr || (known >= 0 ? known != token.id : parts->vocabulary.contains(token.id))) {
      return corrupt("added_tokens: '" + token.content + "' has the id " + std::to_string(token.id) +
                     ", which contradicts the rest of the file");
    }
    parts->added.add(std::move(token), parts->normalizer);
  }
  return {};
}

// A token in tokenizer_config.json: "text", {"content": "text"} or null.
TokenId config_token(const nlohmann::json& config, const char* key, const TokenizerParts& parts) {
  const auto found = config.find(key);
  if (found == config.end()) return -1;
  const nlohmann::json& json =
      found->is_object() && found->contains("content") ? (*found)["content"] : *found;
  if (!json.is_string()) return -1;
  const auto& text = json.get_ref<const std::string&>();
  const TokenId added = parts.added.find(text);
  return added >= 0 ? added : parts.vocabulary.find(text);
}

Result<TokenizerParts> parse(const TokenizerSpec& spec) {
  simdjson::dom::parser parser;
  Json root;
  if (const auto error = parser.parse(spec.tokenizer_json).get(root)) {
    return corrupt(std::string("no JSON: ") + simdjson::error_message(error));
  }
  std::vector<AddedToken> added;
  if (simdjson::dom::array list; !root["added_tokens"].get(list)) {
    for (const Json& json : list) {
      OCTET_ASSIGN_OR_RETURN(added.emplace_back(), parse_added_token(json));
    }
  }
  Json model;
  if (!root.is_object() || root["model"].get(model) || !model.is_object()) {
    return corrupt("expected an object with a 'model'");
  }
  TokenizerParts parts;
  OCTET_RETURN_IF_ERROR(parse_model(model, added.size(), &parts));
  OCTET_RETURN_IF_ERROR(parse_normalizer(root["normalizer"], &parts.normalizer).with_context("normalizer"));
  OCTET_RETURN_IF_ERROR(
      parse_pre_tokenizer(root["pre_tokenizer"], &parts.pre_tokenizer).with_context("pre_tokenizer"));
  OCTET_RETURN_IF_ERROR(parse_decoder(root["decoder"], &parts.decoder).with_context("decoder"));
  OCTET_RETURN_IF_ERROR(add_tokens(std::move(added), &parts));
  OCTET_RETURN_IF_ERROR(parse_post_processor(root["post_processor"], &parts).with_context("post_processor"));
  return parts;
}

}  // namespace

Result<TokenizerParts> parse_tokenizer_json(const TokenizerSpec& spec) {
  auto parts = parse(spec);
  const std::string& path = spec.tokenizer_json_path;
  if (!parts.ok()) return parts.status().with_context(path.empty() ? "tokenizer.json" : path);
  if (spec.tokenizer_config_json.empty()) return parts;
  // Its model_max_length is often 1e30 in digits, which simdjson refuses.
  const auto config = nlohmann::json::parse(spec.tokenizer_config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return corrupt("tokenizer_config.json: expected a JSON object");
  parts->bos_id = config_token(config, "bos_token", *parts);
  parts->eos_id = config_token(config, "eos_token", *parts);
  return parts;
}

}  // namespace octet
