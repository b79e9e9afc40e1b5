// The steps around the model in a tokenizer.json: objects with a "type", or a "Sequence" of them, or null.
// Errors: kUnsupported names a type or an option that is not built, kCorrupt a field that is not what it must
// be.
#pragma once

#include <optional>
#include <string_view>

#include <simdjson.h>

#include "base/status.h"
#include "text/tokenizer_parts.h"

namespace octet {

using JsonResult = simdjson::simdjson_result<simdjson::dom::element>;  // an error: no such field

Status parse_normalizer(const JsonResult& json, Normalizer* normalizer);
Status parse_pre_tokenizer(const JsonResult& json, PreTokenizer* pre_tokenizer);
Status parse_decoder(const JsonResult& json, TokenDecoder* decoder);
// Sets prefix and suffix of `parts`.
Status parse_post_processor(const JsonResult& json, TokenizerParts* parts);

inline std::optional<std::string_view> json_string(const simdjson::dom::element& json, std::string_view key) {
  std::string_view value;
  if (json[key].get(value)) return std::nullopt;
  return value;
}
inline std::optional<int64_t> json_int(const simdjson::dom::element& json, std::string_view key) {
  int64_t value = 0;
  if (json[key].get(value)) return std::nullopt;
  return value;
}
inline bool json_bool(const simdjson::dom::element& json, std::string_view key, bool otherwise) {
  bool value = otherwise;
  if (json[key].get(value)) return otherwise;
  return value;
}

}  // namespace octet
