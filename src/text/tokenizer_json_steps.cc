#include "text/tokenizer_json_steps.h"

#include <utility>

#include "text/utf8.h"

namespace octet {

namespace {

using Json = simdjson::dom::element;

// Calls `parse(step, type)` for every step of a sequence, or for the one step there is. `steps_key` is where
// this kind of sequence keeps them.
template <typename Parse>
Status for_each_step(const JsonResult& field, const char* steps_key, const Parse& parse) {
  Json json;
  if (field.get(json) || json.is_null()) return {};
  const auto type = json_string(json, "type");
  if (!type) return corrupt("expected an object with a 'type'");
  if (*type != "Sequence") return parse(json, std::string(*type));
  simdjson::dom::array steps;
  if (json[steps_key].get(steps))
    return corrupt(std::string("Sequence: expected an array '") + steps_key + "'");
  for (const Json& step : steps)
    OCTET_RETURN_IF_ERROR(for_each_step(JsonResult(Json(step)), steps_key, parse));
  return {};
}

Status not_built(const std::string& type) {
  return unsupported("type '" + type + "' is not supported");
}

// {"String": "..."} or {"Regex": "..."}.
Result<std::variant<std::string, Regex>> parse_pattern(const Json& json) {
  using Pattern = std::variant<std::string, Regex>;
  Json pattern;
  if (json["pattern"].get(pattern)) return corrupt("expected a 'pattern'");
  if (const auto literal = json_string(pattern, "String")) return Pattern(std::string(*literal));
  const auto regex = json_string(pattern, "Regex");
  if (!regex) return corrupt("pattern: expected {\"String\": ...} or {\"Regex\": ...}");
  OCTET_ASSIGN_OR_RETURN(Regex compiled, Regex::compile(std::string(*regex)));
  return Pattern(std::move(compiled));
}

Result<SplitStep> parse_split(const Json& json) {
  SplitStep step;
  OCTET_ASSIGN_OR_RETURN(step.pattern, parse_pattern(json));
  step.invert = json_bool(json, "invert", false);
  const auto behavior = json_string(json, "behavior").value_or("");
  constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"Contiguous", SplitBehavior::kContiguous},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext}};
  for (const auto& [name, value] : kBehaviors) {
    if (behavior != name) continue;
    step.behavior = value;
    return step;
  }
  return corrupt("Split: unknown behavior '" + std::string(behavior) + "'");
}

Result<ByteLevelStep> parse_byte_level(const Json& json) {
  ByteLevelStep step;
  step.add_prefix_space = json_bool(json, "add_prefix_space", true);
  if (json_bool(json, "use_regex", true)) {
    OCTET_ASSIGN_OR_RETURN(step.split, Regex::compile(kGpt2Pattern));
  }
  return step;
}

Result<MetaspaceStep> parse_metaspace(const Json& json) {
  using Prepend = MetaspaceStep::Prepend;
  MetaspaceStep step;
  step.replacement = json_string(json, "replacement").value_or(step.replacement);
  step.split = json_bool(json, "split", true);
  const auto scheme = json_string(json, "prepend_scheme").value_or("always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return corrupt("Metaspace: unknown prepend_scheme '" + std::string(scheme) + "'");
  }
  step.prepend = scheme == "always"  ? Prepend::kAlways
                 : scheme == "first" ? Prepend::kFirst
                                     : Prepend::kNever;
  if (!json_bool(json, "add_prefix_space", true))
    step.prepend = Prepend::kNever;  // files before prepend_scheme
  return step;
}

bool is_one_character(std::string_view text) {
  return !text.empty() && first_code_point(text).length == text.size();
}

// Decoders work on a list of tokens; ours on one token at a time. That is the same as long as nothing after
// Fuse looks at more than one character, but for the space at the start.
struct ParseDecoder {
  TokenDecoder* decoder;
  bool fused = false;

  Status operator()(const Json& json, const std::string& type) {
    if (type == "ByteLevel") {
      decoder->add(ByteLevelDecode{});
    } else if (type == "ByteFallback") {
      decoder->add(ByteFallbackDecode{});
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Replace") {
      return replace(json);
    } else if (type == "Strip") {
      return strip(json);
    } else if (type == "Metaspace") {
      OCTET_ASSIGN_OR_RETURN(const MetaspaceStep step, parse_metaspace(json));
      decoder->add(ReplaceDecode{step.replacement, " "});
      if (step.prepend != MetaspaceStep::Prepend::kNever) decoder->set_strips_leading_space();
    } else {
      return not_built(type);
    }
    return {};
  }

  Status replace(const Json& json) {
    OCTET_ASSIGN_OR_RETURN(const auto pattern, parse_pattern(json));
    const auto* literal = std::get_if<std::string>(&pattern);
    if (literal == nullptr) return unsupported("Replace with a regular expression is not supported");
    if (fused && !is_one_character(*literal)) {
      return unsupported("Replace of '" + *literal + "' after Fuse is not supported, of one character it is");
    }
    decoder->add(ReplaceDecode{*literal, std::string(json_string(json, "content").value_or(""))});
    return {};
  }

  Status strip(const Json& json) {
    if (!fused || json_string(json, "content") != " " || json_int(json, "start") != 1 ||
        json_int(json, "stop") != 0) {
      return unsupported("Strip is supported after Fuse, of one space at the start");
    }
    decoder->set_strips_leading_space();
    return {};
  }
};

// TemplateProcessing: the special tokens before and after the text in "single".
Status parse_template(const Json& json, TokenizerParts* parts) {
  simdjson::dom::array items;
  if (json["single"].get(items)) return corrupt("TemplateProcessing: expected an array 'single'");
  std::vector<TokenId> prefix, suffix;
  int n_texts = 0;
  for (const Json& item : items) {
    if (Json sequence; !item["Sequence"].get(sequence)) {
      ++n_texts;
      continue;
    }
    Json special;
    if (item["SpecialToken"].get(special)) {
      return corrupt("TemplateProcessing: expected 'Sequence' or 'SpecialToken' in every item of 'single'");
    }
    const auto name = json_string(special, "id");
    simdjson::dom::array ids;
    if (!name || json["special_tokens"][*name]["ids"].get(ids)) {
      return corrupt("TemplateProcessing: a special token of 'single' is not in 'special_tokens'");
    }
    for (const Json& value : ids) {
      int64_t id = -1;
      const bool known = !value.get(id) && id >= 0 && id <= INT32_MAX &&
                         (parts->vocabulary.contains(static_cast<int32_t>(id)) ||
                          parts->added.find(static_cast<int32_t>(id)) != nullptr);
      if (!known) return corrupt("TemplateProcessing: '" + std::string(*name) + "' has an id of no token");
      (n_texts == 0 ? prefix : suffix).push_back(static_cast<TokenId>(id));
    }
  }
  if (n_texts != 1)
    return unsupported("TemplateProcessing: expected the text once in 'single', found " +
                       std::to_string(n_texts) + " times");
  parts->prefix.insert(parts->prefix.begin(), prefix.begin(), prefix.end());
  parts->suffix.insert(parts->suffix.end(), suffix.begin(), suffix.end());
  return {};
}

}  // namespace

Status parse_normalizer(const JsonResult& json, Normalizer* normalizer) {
  return for_each_step(json, "normalizers", [&](const Json& step, const std::string& type) -> Status {
    if (type == "NFC") {
      normalizer->add(NfcStep{});
    } else if (type == "Prepend") {
      normalizer->add(PrependStep{std::string(json_string(step, "prepend").value_or(""))});
    } else if (type == "Replace") {
      OCTET_ASSIGN_OR_RETURN(auto pattern, parse_pattern(step));
      normalizer->add(
          ReplaceStep{std::move(pattern), std::string(json_string(step, "content").value_or(""))});
    } else {
      return not_built(type);
    }
    return {};
  });
}

Status parse_pre_tokenizer(const JsonResult& json, PreTokenizer* pre_tokenizer) {
  return for_each_step(json, "pretokenizers", [&](const Json& step, const std::string& type) -> Status {
    if (type == "Split") {
      OCTET_ASSIGN_OR_RETURN(SplitStep split, parse_split(step));
      pre_tokenizer->add(std::move(split));
    } else if (type == "ByteLevel") {
      OCTET_ASSIGN_OR_RETURN(ByteLevelStep byte_level, parse_byte_level(step));
      pre_tokenizer->add(std::move(byte_level));
    } else if (type == "Digits") {
      pre_tokenizer->add(DigitsStep{json_bool(step, "individual_digits", false)});
    } else if (type == "Metaspace") {
      OCTET_ASSIGN_OR_RETURN(MetaspaceStep metaspace, parse_metaspace(step));
      pre_tokenizer->add(std::move(metaspace));
    } else {
      return not_built(type);
    }
    return {};
  });
}

Status parse_decoder(const JsonResult& json, TokenDecoder* decoder) {
  if (Json value; json.get(value) || value.is_null()) return unsupported("null is not supported");
  ParseDecoder parse{decoder};
  return for_each_step(json, "decoders",
                       [&](const Json& step, const std::string& type) { return parse(step, type); });
}

Status parse_post_processor(const JsonResult& json, TokenizerParts* parts) {
  return for_each_step(json, "processors", [&](const Json& step, const std::string& type) -> Status {
    if (type == "TemplateProcessing") return parse_template(step, parts);
    if (type == "ByteLevel") return {};  // moves offsets, not ids
    return not_built(type);
  });
}

}  // namespace octet
