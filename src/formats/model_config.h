// A decoder-only transformer of the Llama kind, as flags of one forward pass: Llama 2, 3, 3.1, 3.2, SmolLM2,
// Mistral, Qwen2, Qwen2.5 and Qwen3 (dense). Field names are those of Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/quant_scheme.h"

namespace octet {

// Other types (yarn, dynamic, longrope) are refused by name when a model is opened.
enum class RopeType : uint8_t { kDefault, kLinear, kLlama3 };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  float theta = 10000.0f;
  float factor = 1.0f;
  float low_freq_factor = 1.0f, high_freq_factor = 4.0f;  // kLlama3
  int32_t original_context = 0;                           // kLlama3
  std::vector<float>
      gguf_factors;  // GGUF's rope_freqs.weight [head_dim/2]: divides the frequencies; empty: from the fields

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  std::string
      architecture;  // "llama", "mistral", "qwen2", "qwen3": HF's model_type or GGUF's general.architecture
  std::string name;  // for people: the folder's or the file's
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t n_layers = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t max_context = 0;  // max_position_embeddings
  float norm_eps = 1e-5f;
  RopeConfig rope;
  bool tied_embeddings = false;
  bool qkv_bias = false;  // Qwen2; Llama's attention_bias
  bool o_bias = false;    // Llama's attention_bias
  bool mlp_bias = false;
  bool qk_norm = false;        // Qwen3
  int32_t sliding_window = 0;  // 0: none
  QType dtype = QType::kBF16;  // of the checkpoint's 16-bit tensors

  std::vector<int32_t> eos_ids;  // config.json and generation_config.json together
  int32_t bos_id = -1;

  int64_t n_parameters() const;
  // Every size positive and consistent (heads divide, head_dim even, sizes within 2^31). kInvalidArgument
  // names the field.
  Status validate() const;
  bool operator==(const ModelConfig&) const = default;
};

// The defaults that generation_config.json gives to requests which do not say otherwise.
struct GenerationDefaults {
  float temperature = 1.0f, top_p = 1.0f, min_p = 0.0f, repetition_penalty = 1.0f;
  int32_t top_k = 0;
};

}  // namespace octet
