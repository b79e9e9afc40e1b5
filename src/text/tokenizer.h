// Text to token ids and back.
//
// Byte-level BPE (GPT-2's byte alphabet; Llama 3, SmolLM2, Qwen) with the family's pre-tokenizer regex, and
// SentencePiece-style BPE with byte fallback (Llama 2, Mistral), from tokenizer.json or from GGUF. Ids are
// equal to those of the Hugging Face `tokenizers` library (tokenizer.json) and of llama.cpp (GGUF). Encoding
// takes time linear in the text (n log n in one pre-token), whatever the text. Thread-safe: const after load.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"

namespace octet {

using TokenId = int32_t;

struct EncodeOptions {
  bool add_special_tokens = true;  // BOS (and EOS) as the model's own post-processor does
  bool parse_special = true;       // special tokens spelled out in the text become their ids
};

class Tokenizer {
 public:
  // Errors: kCorrupt (JSON that does not parse, ids out of order), kUnsupported (a model, normalizer or
  // pre-tokenizer that is not built: the message names it).
  static Result<std::unique_ptr<Tokenizer>> create(const TokenizerSpec& spec);
  virtual ~Tokenizer() = default;

  // Bytes of `text` that are no UTF-8 count as U+FFFD. Texts of up to 1 GiB.
  virtual std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // All ids at once. Bytes that are no UTF-8 become U+FFFD. Ids outside the vocabulary give nothing.
  virtual std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens = true) const = 0;

  // The raw bytes that one token adds to a text (the byte-level alphabet and byte fallback undone): for the
  // streaming detokenizer and for logprobs. Special tokens give their spelling.
  virtual std::string token_bytes(TokenId id) const = 0;
  // The token as the vocabulary spells it.
  virtual std::string token_text(TokenId id) const = 0;
  virtual TokenId find(std::string_view token_text) const = 0;  // -1: not there

  virtual bool is_special(TokenId id) const = 0;
  virtual int32_t size() const = 0;    // ids are in [0, size)
  virtual TokenId bos_id() const = 0;  // -1: none
  virtual TokenId eos_id() const = 0;
  virtual std::string bos_token() const = 0;  // their texts, for chat templates; empty where there is none
  virtual std::string eos_token() const = 0;
  // True where decoding drops the single space that encoding put before the text (SentencePiece).
  virtual bool strips_leading_space() const = 0;
  virtual std::string description() const = 0;  // one line for `octet inspect`
};

}  // namespace octet
