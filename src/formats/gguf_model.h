// What a GGUF file says about its model, in the project's own terms: architecture and sizes (llama, qwen2,
// qwen3; Mistral files say llama), rope scaling, vocabulary, chat template, and Hugging Face's names for its
// tensors.
#pragma once

#include <string>

#include "base/status.h"
#include "formats/gguf.h"
#include "formats/model_config.h"
#include "text/tokenizer_spec.h"

namespace octet {

// Errors: kUnsupported (architecture, rope scaling, experts, a file split in parts), kCorrupt (a key that is
// missing or of another type). `file` is for messages.
Result<ModelConfig> gguf_model_config(const GgufFile& gguf, const std::string& file);

// Empty where the file has no tokenizer.
Result<TokenizerSpec> gguf_tokenizer(const GgufFile& gguf, const std::string& file);

// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; empty for tensors that no model here
// computes with.
std::string canonical_tensor_name(const std::string& gguf_name);

}  // namespace octet
