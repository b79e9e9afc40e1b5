// Where a tokenizer comes from, filled in by the checkpoint readers. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace octet {

// The vocabulary as GGUF files store it (tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  // "gpt2" (byte-level BPE), "llama" (SentencePiece BPE with byte fallback)
  std::string pre;    // the pre-tokenizer's name: "llama-bpe", "smollm", "qwen2", "gpt-2", "default", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;        // SentencePiece only
  std::vector<int32_t> types;       // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;  // byte-level BPE only: "left right"
  int32_t bos_id = -1, eos_id = -1, unk_id = -1, pad_id = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = true;
};

struct TokenizerSpec {
  // Hugging Face: the texts of these files, empty where there is none.
  std::string tokenizer_json, tokenizer_config_json;
  std::string tokenizer_json_path;  // for messages
  // GGUF: used where tokenizer_json is empty and tokens are there.
  GgufVocabulary gguf;
  // The chat template's source: chat_template.jinja, or tokenizer_config.json's, or GGUF's
  // tokenizer.chat_template.
  std::string chat_template;

  bool empty() const { return tokenizer_json.empty() && gguf.tokens.empty(); }
};

}  // namespace octet
