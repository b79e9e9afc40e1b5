// What both kinds of tokenizer files are read into, and the tokenizer made of it:
// added tokens -> normalizer -> added tokens -> pre-tokenizer -> BPE, and back through the decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace octet {

struct TokenizerParts {
  Vocabulary vocabulary;  // what the model can give; added tokens need not be in it
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::variant<std::monostate, RankedBpe, ScoredBpe> model;
  TokenDecoder decoder;
  std::vector<TokenId> prefix, suffix;  // around a text where special tokens are asked for
  TokenId bos_id = -1, eos_id = -1;
  std::string description;
};

Result<TokenizerParts> parse_tokenizer_json(const TokenizerSpec& spec);
Result<TokenizerParts> parse_gguf_vocabulary(const GgufVocabulary& gguf);

}  // namespace octet
