// The tokenizers of GGUF files, as llama.cpp reads them: "gpt2" (byte-level BPE, the pre-tokenizer known by
// its name) and "llama" (SentencePiece's BPE by scores, with byte fallback).
#include <array>

#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace octet {

namespace {

enum TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

constexpr const char* kSpace = "\xE2\x96\x81";  // U+2581 stands for a space in SentencePiece

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// llama.cpp's for files that name none: punctuation, then words, then digits by threes.
constexpr const char* kPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr const char* kNumbers = R"(\p{N}+)";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";
constexpr const char* kOneDigit = R"(\p{N})";

struct PreTokenizerByName {
  const char* name;
  bool ignore_merges;
  std::array<const char*, 4> patterns;  // applied one after the other; null: none
};

constexpr PreTokenizerByName kPreTokenizers[] = {
    {"llama-bpe", true, {kLlama3}},
    {"llama3", true, {kLlama3}},
    {"llama-v3", true, {kLlama3}},
    {"tekken", true, {kTekken}},
    {"qwen2", false, {kQwen2}},
    {"deepseek-r1-qwen", false, {kQwen2}},
    {"smollm", false, {kOneDigit, kGpt2Pattern}},
    {"starcoder", false, {kOneDigit, kGpt2Pattern}},
    {"gpt-2", false, {kGpt2Pattern}},
    {"gpt2", false, {kGpt2Pattern}},
    {"default", false, {kPunctuation, kGpt2Pattern, kNumbers, kThreeDigits}},
};

Result<const PreTokenizerByName*> find_pre_tokenizer(const std::string& name) {
  std::string names;
  for (const PreTokenizerByName& known : kPreTokenizers) {
    if (name == known.name || (name.empty() && std::string(known.name) == "default")) return &known;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return unsupported("tokenizer.ggml.pre '" + name + "' is not supported; these are: " + names);
}

Status build_byte_level(const GgufVocabulary& gguf, TokenizerParts* parts) {
  OCTET_ASSIGN_OR_RETURN(const PreTokenizerByName* pre, find_pre_tokenizer(gguf.pre));
  for (const char* pattern : pre->patterns) {
    if (pattern == nullptr) continue;
    OCTET_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern));
    parts->pre_tokenizer.add(SplitStep{std::move(regex)});
  }
  parts->pre_tokenizer.add(ByteLevelStep{});
  parts->decoder.add(ByteLevelDecode{});
  BpeOptions options;
  options.ignore_merges = pre->ignore_merges;
  RankedBpe bpe(parts->vocabulary, options, gguf.merges.size());
  for (size_t i = 0; i < gguf.merges.size(); ++i) {
    const std::string_view merge = gguf.merges[i];
    const size_t space = merge.find(' ', 1);  // llama.cpp looks from the second byte on, too
    if (space == std::string_view::npos ||
        !bpe.add_merge(parts->vocabulary, merge.substr(0, space), merge.substr(space + 1))) {
      return corrupt("tokenizer.ggml.merges: entry " + std::to_string(i) +
                     ": expected two tokens whose concatenation is a token, found '" + gguf.merges[i] + "'");
    }
  }
  parts->model = std::move(bpe);
  parts->description = "byte-level BPE, pre-tokenizer " + std::string(pre->name);
  return {};
}

Status build_sentence_piece(const GgufVocabulary& gguf, TokenizerParts* parts) {
  if (gguf.add_space_prefix) {
    parts->normalizer.add(PrependStep{kSpace});
    parts->decoder.set_strips_leading_space();
  }
  parts->normalizer.add(ReplaceStep{std::string(" "), kSpace});
  parts->decoder.add(ReplaceDecode{kSpace, " "});
  parts->decoder.add(ByteFallbackDecode{});
  const bool has_unknown =
      parts->vocabulary.contains(gguf.unk_id) || parts->added.find(gguf.unk_id) != nullptr;
  parts->model = ScoredBpe(parts->vocabulary, gguf.scores, has_unknown ? gguf.unk_id : -1);
  parts->description = "SentencePiece BPE with byte fallback";
  return {};
}

// Control and user-defined tokens are found in the text before the model sees it; the others are the model's.
Status add_tokens(const GgufVocabulary& gguf, TokenizerParts* parts) {
  for (size_t i = 0; i < gguf.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const int32_t type = gguf.types.empty() ? kNormal : gguf.types[i];
    if (type < kNormal || type > kByte) {
      return corrupt("tokenizer.ggml.token_type: token " + std::to_string(i) + ": expected 1 to 6, found " +
                     std::to_string(type));
    }
    if (!is_valid_utf8(gguf.tokens[i])) {
      return corrupt("tokenizer.ggml.tokens: token " + std::to_string(i) + " is not UTF-8");
    }
    if (type == kNormal || type == kUnused || type == kByte) {
      parts->vocabulary.add(id, gguf.tokens[i]);
      continue;
    }
    AddedToken token;
    token.id = id;
    token.content = gguf.tokens[i];
    token.special = type != kUserDefined;
    token.as_spelled = true;
    parts->added.add(std::move(token), Normalizer());
  }
  return {};
}

Result<TokenizerParts> parse(const GgufVocabulary& gguf) {
  if (!gguf.types.empty() && gguf.types.size() != gguf.tokens.size()) {
    return corrupt("tokenizer.ggml.token_type: expected " + std::to_string(gguf.tokens.size()) +
                   " values, found " + std::to_string(gguf.types.size()));
  }
  TokenizerParts parts;
  OCTET_RETURN_IF_ERROR(add_tokens(gguf, &parts));
  if (gguf.model == "gpt2") {
    OCTET_RETURN_IF_ERROR(build_byte_level(gguf, &parts));
  } else if (gguf.model == "llama") {
    OCTET_RETURN_IF_ERROR(build_sentence_piece(gguf, &parts));
  } else {
    return unsupported("tokenizer.ggml.model '" + gguf.model + "' is not supported; gpt2 and llama are");
  }
  const auto known = [&](TokenId id) {
    return id >= 0 && static_cast<size_t>(id) < gguf.tokens.size() ? id : -1;
  };
  parts.bos_id = known(gguf.bos_id);
  parts.eos_id = known(gguf.eos_id);
  if (gguf.add_bos && parts.bos_id >= 0) parts.prefix.push_back(parts.bos_id);
  if (gguf.add_eos && parts.eos_id >= 0) parts.suffix.push_back(parts.eos_id);
  parts.description += ", " + std::to_string(gguf.tokens.size()) + " tokens (GGUF)";
  return parts;
}

}  // namespace

Result<TokenizerParts> parse_gguf_vocabulary(const GgufVocabulary& gguf) {
  auto parts = parse(gguf);
  if (!parts.ok()) return parts.status().with_context("GGUF tokenizer");
  return parts;
}

}  // namespace octet
