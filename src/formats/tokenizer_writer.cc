#include "formats/tokenizer_writer.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include <nlohmann/json.hpp>

namespace octet {
namespace {

using nlohmann::json;
using TokenIds = std::unordered_map<std::string_view, int32_t>;

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };

constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSpace = "\u2581";  // SentencePiece's mark for a space

TokenType type_of(const GgufVocabulary& vocabulary, size_t id) {
  return id < vocabulary.types.size() ? static_cast<TokenType>(vocabulary.types[id]) : kNormal;
}

json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json split(const char* pattern) {
  return {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
        byte_level(false)}}};
}

Result<json> pre_tokenizer(const std::string& pre) {
  if (pre == "gpt-2") return byte_level(true);
  if (pre == "smollm") {
    return json{{"type", "Sequence"},
                {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}}};
  }
  if (pre == "llama-bpe" || pre == "llama3") return split(kLlama3Pattern);
  if (pre == "qwen2") return split(kQwen2Pattern);
  return unsupported("tokenizer.ggml.pre: the pre-tokenizer \"" + pre +
                     "\" cannot be written as tokenizer.json; there are gpt-2, smollm, llama-bpe, qwen2");
}

// Ids in the text are those of the first token with it.
TokenIds token_ids(const GgufVocabulary& vocabulary) {
  TokenIds ids;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    ids.emplace(vocabulary.tokens[i], static_cast<int32_t>(i));
  }
  return ids;
}

json vocabulary_json(const TokenIds& ids) {
  json vocab = json::object();
  for (const auto& [token, id] : ids) vocab[std::string(token)] = id;
  return vocab;
}

json added_tokens(const GgufVocabulary& vocabulary) {
  json added = json::array();
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const TokenType type = type_of(vocabulary, i);
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    added.push_back({{"id", i},
                     {"content", vocabulary.tokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != kUserDefined}});
  }
  return added;
}

// Puts the begin and end tokens around a text, where the vocabulary asks for them.
json post_processor(const GgufVocabulary& vocabulary) {
  json single = json::array(), second = json::array(), special = json::object();
  const auto put = [&](int32_t id, json* list, int type_id) {
    const std::string& token = vocabulary.tokens[static_cast<size_t>(id)];
    list->push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const auto sequence = [&](const char* name, json* list, int type_id) {
    if (vocabulary.add_bos && vocabulary.bos_id >= 0) put(vocabulary.bos_id, list, type_id);
    list->push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    if (vocabulary.add_eos && vocabulary.eos_id >= 0) put(vocabulary.eos_id, list, type_id);
  };
  sequence("A", &single, 0);
  if (special.empty()) return nullptr;
  sequence("B", &second, 1);
  json pair = single;
  pair.insert(pair.end(), second.begin(), second.end());
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

json bpe_model(const GgufVocabulary& vocabulary, const TokenIds& ids, json merges, bool byte_fallback) {
  const bool has_unknown = byte_fallback && vocabulary.unk_id >= 0;
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token",
           has_unknown ? json(vocabulary.tokens[static_cast<size_t>(vocabulary.unk_id)]) : json(nullptr)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", byte_fallback},
          {"byte_fallback", byte_fallback},
          // Llama 3 looks whole words up before merging.
          {"ignore_merges", vocabulary.pre == "llama-bpe" || vocabulary.pre == "llama3"},
          {"vocab", vocabulary_json(ids)},
          {"merges", std::move(merges)}};
}

Result<json> byte_level_tokenizer(const GgufVocabulary& vocabulary) {
  const auto ids = token_ids(vocabulary);
  OCTET_ASSIGN_OR_RETURN(json pre, pre_tokenizer(vocabulary.pre));
  json merges = json::array();
  for (const auto& merge : vocabulary.merges) {
    const size_t space = merge.find(' ', 1);
    const bool known = space != std::string::npos &&
                       ids.count(std::string_view(merge).substr(0, space)) > 0 &&
                       ids.count(std::string_view(merge).substr(space + 1)) > 0;
    if (!known) return corrupt("tokenizer.ggml.merges: expected two tokens, found \"" + merge + "\"");
    merges.push_back(merge);
  }
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", added_tokens(vocabulary)},
              {"normalizer", vocabulary.pre == "qwen2" ? json{{"type", "NFC"}} : json(nullptr)},
              {"pre_tokenizer", pre},
              {"post_processor", post_processor(vocabulary)},
              {"decoder", byte_level(true)},
              {"model", bpe_model(vocabulary, ids, std::move(merges), false)}};
}

// SentencePiece joins the two neighbours whose union has the best score. As merge rules: every way to put a
// token together from two, in the order of the whole's score.
json merges_from_scores(const GgufVocabulary& vocabulary, const TokenIds& ids) {
  struct Merge {
    float score;
    std::string_view left, right;
  };
  constexpr size_t kLongestToken = 512;  // bytes; splits grow with the square of the length
  std::vector<Merge> merges;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string_view whole = vocabulary.tokens[i];
    if (type_of(vocabulary, i) != kNormal || whole.size() > kLongestToken) continue;
    for (size_t cut = 1; cut < whole.size(); ++cut) {
      const auto left = ids.find(whole.substr(0, cut)), right = ids.find(whole.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      if (type_of(vocabulary, static_cast<size_t>(left->second)) != kNormal ||
          type_of(vocabulary, static_cast<size_t>(right->second)) != kNormal) {
        continue;
      }
      merges.push_back({vocabulary.scores[i], left->first, right->first});
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  json list = json::array();
  for (const auto& merge : merges) list.push_back({merge.left, merge.right});
  return list;
}

Result<json> sentencepiece_tokenizer(const GgufVocabulary& vocabulary) {
  if (vocabulary.scores.size() != vocabulary.tokens.size()) {
    return corrupt("tokenizer.ggml.scores: expected one for each token");
  }
  const auto ids = token_ids(vocabulary);
  json replace{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
  json normalizers = json::array();
  if (vocabulary.add_space_prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back(replace);
  json decoders = json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  if (vocabulary.add_space_prefix) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", added_tokens(vocabulary)},
              {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
              {"pre_tokenizer", nullptr},
              {"post_processor", post_processor(vocabulary)},
              {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
              {"model", bpe_model(vocabulary, ids, merges_from_scores(vocabulary, ids), true)}};
}

Result<json> tokenizer_of(const GgufVocabulary& vocabulary) {
  if (vocabulary.model == "gpt2") return byte_level_tokenizer(vocabulary);
  if (vocabulary.model == "llama") return sentencepiece_tokenizer(vocabulary);
  return unsupported("tokenizer.ggml.model: the tokenizer \"" + vocabulary.model +
                     "\" cannot be written as tokenizer.json; there are gpt2 and llama");
}

}  // namespace

Result<std::string> make_tokenizer_json(const GgufVocabulary& vocabulary) {
  OCTET_ASSIGN_OR_RETURN(const json tokenizer, tokenizer_of(vocabulary));
  try {
    return tokenizer.dump(1) + "\n";
  } catch (const json::exception&) {  // nlohmann checks the encoding when it writes
    return corrupt("tokenizer.ggml.tokens: expected UTF-8, found other bytes");
  }
}

std::string make_tokenizer_config(const GgufVocabulary& vocabulary, int32_t max_context) {
  json config{{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"model_max_length", max_context},
              {"clean_up_tokenization_spaces", false}};
  const auto put = [&](const char* key, int32_t id) {
    if (id >= 0) config[key] = vocabulary.tokens[static_cast<size_t>(id)];
  };
  put("bos_token", vocabulary.bos_id);
  put("eos_token", vocabulary.eos_id);
  put("unk_token", vocabulary.unk_id);
  put("pad_token", vocabulary.pad_id);
  return config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace octet
