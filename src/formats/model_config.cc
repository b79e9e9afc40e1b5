#include "formats/model_config.h"

#include <cmath>
#include <limits>

namespace octet {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
constexpr int32_t kMaxLayers = 1024;  // bounds the lists made from a file's word alone

Status positive(const char* field, int64_t value) {
  if (value > 0 && value <= kLargest) return {};
  return invalid_argument(std::string(field) + ": expected a positive number of 31 bits, found " +
                          std::to_string(value));
}

Status positive(const char* field, float value) {
  if (std::isfinite(value) && value > 0) return {};
  return invalid_argument(std::string(field) + ": expected a positive number, found " +
                          std::to_string(value));
}

Status validate_rope(const RopeConfig& rope, int32_t head_dim) {
  OCTET_RETURN_IF_ERROR(positive("rope_theta", rope.theta));
  OCTET_RETURN_IF_ERROR(positive("rope_scaling.factor", rope.factor));
  if (rope.type == RopeType::kLlama3) {
    OCTET_RETURN_IF_ERROR(positive("rope_scaling.low_freq_factor", rope.low_freq_factor));
    OCTET_RETURN_IF_ERROR(positive("rope_scaling.high_freq_factor", rope.high_freq_factor));
    OCTET_RETURN_IF_ERROR(
        positive("rope_scaling.original_max_position_embeddings", int64_t{rope.original_context}));
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      return invalid_argument("rope_scaling.high_freq_factor: expected more than low_freq_factor (" +
                              std::to_string(rope.low_freq_factor) + "), found " +
                              std::to_string(rope.high_freq_factor));
    }
  }
  if (!rope.gguf_factors.empty() && rope.gguf_factors.size() != static_cast<size_t>(head_dim / 2)) {
    return invalid_argument("rope_freqs: expected " + std::to_string(head_dim / 2) + " factors, found " +
                            std::to_string(rope.gguf_factors.size()));
  }
  for (const float factor : rope.gguf_factors) OCTET_RETURN_IF_ERROR(positive("rope_freqs", factor));
  return {};
}

}  // namespace

int64_t ModelConfig::n_parameters() const {
  const int64_t hidden = hidden_size, q = int64_t{n_heads} * head_dim, kv = int64_t{n_kv_heads} * head_dim;
  int64_t layer = hidden * (q + 2 * kv) + q * hidden + 3 * hidden * intermediate_size + 2 * hidden;
  if (qkv_bias) layer += q + 2 * kv;
  if (o_bias) layer += hidden;
  if (mlp_bias) layer += 2 * int64_t{intermediate_size} + hidden;
  if (qk_norm) layer += 2 * int64_t{head_dim};
  const int64_t embeddings = (tied_embeddings ? 1 : 2) * int64_t{vocab_size} * hidden;
  return embeddings + n_layers * layer + hidden;
}

Status ModelConfig::validate() const {
  OCTET_RETURN_IF_ERROR(positive("vocab_size", int64_t{vocab_size}));
  OCTET_RETURN_IF_ERROR(positive("hidden_size", int64_t{hidden_size}));
  OCTET_RETURN_IF_ERROR(positive("intermediate_size", int64_t{intermediate_size}));
  OCTET_RETURN_IF_ERROR(positive("num_hidden_layers", int64_t{n_layers}));
  OCTET_RETURN_IF_ERROR(positive("num_attention_heads", int64_t{n_heads}));
  OCTET_RETURN_IF_ERROR(positive("num_key_value_heads", int64_t{n_kv_heads}));
  OCTET_RETURN_IF_ERROR(positive("head_dim", int64_t{head_dim}));
  OCTET_RETURN_IF_ERROR(positive("max_position_embeddings", int64_t{max_context}));
  OCTET_RETURN_IF_ERROR(positive("num_attention_heads * head_dim", int64_t{n_heads} * head_dim));
  OCTET_RETURN_IF_ERROR(positive("rms_norm_eps", norm_eps));
  if (n_layers > kMaxLayers) {
    return invalid_argument("num_hidden_layers: expected at most " + std::to_string(kMaxLayers) + ", found " +
                            std::to_string(n_layers));
  }
  if (n_heads % n_kv_heads != 0) {
    return invalid_argument("num_key_value_heads: expected a divisor of num_attention_heads (" +
                            std::to_string(n_heads) + "), found " + std::to_string(n_kv_heads));
  }
  if (head_dim % 2 != 0) {
    return invalid_argument("head_dim: expected an even number, found " + std::to_string(head_dim));
  }
  if (sliding_window < 0) {
    return invalid_argument("sliding_window: expected a positive number, found " +
                            std::to_string(sliding_window));
  }
  for (const int32_t id : eos_ids) {
    if (id < 0 || id >= vocab_size) {
      return invalid_argument("eos_token_id: expected less than vocab_size (" + std::to_string(vocab_size) +
                              "), found " + std::to_string(id));
    }
  }
  if (bos_id < -1 || bos_id >= vocab_size) {
    return invalid_argument("bos_token_id: expected less than vocab_size (" + std::to_string(vocab_size) +
                            "), found " + std::to_string(bos_id));
  }
  return validate_rope(rope, head_dim);
}

}  // namespace octet
