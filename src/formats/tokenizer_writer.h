// tokenizer.json and tokenizer_config.json from a GGUF file's vocabulary, such that Hugging Face's tokenizers
// library gives the ids that the vocabulary's own model gives: byte-level BPE ("gpt2") with the
// pre-tokenizers of gpt-2, smollm, llama-bpe and qwen2, and SentencePiece's BPE with byte fallback ("llama").
#pragma once

#include <string>

#include "base/status.h"
#include "text/tokenizer_spec.h"

namespace octet {

// Errors: kUnsupported (another model or pre-tokenizer), kCorrupt (a token that is not UTF-8, a merge of no
// two tokens).
Result<std::string> make_tokenizer_json(const GgufVocabulary& vocabulary);

std::string make_tokenizer_config(const GgufVocabulary& vocabulary, int32_t max_context);

}  // namespace octet
