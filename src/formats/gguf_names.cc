#include <array>

#include "formats/gguf_model.h"

namespace octet {
namespace {

constexpr std::array<std::pair<const char*, const char*>, 11> kLayerNames = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

}  // namespace

std::string canonical_tensor_name(const std::string& gguf_name) {
  if (gguf_name == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf_name == "output_norm.weight") return "model.norm.weight";
  if (gguf_name == "output.weight") return "lm_head.weight";
  constexpr std::string_view kBlock = "blk.";
  const size_t number_end = gguf_name.find('.', kBlock.size());
  const size_t kind = gguf_name.rfind('.');
  if (gguf_name.rfind(kBlock, 0) != 0 || number_end == std::string::npos || kind <= number_end) return {};
  const std::string number = gguf_name.substr(kBlock.size(), number_end - kBlock.size());
  const std::string suffix = gguf_name.substr(kind);
  if (number.empty() || number.find_first_not_of("0123456789") != std::string::npos) return {};
  if (suffix != ".weight" && suffix != ".bias") return {};
  const std::string_view layer_name =
      std::string_view(gguf_name).substr(number_end + 1, kind - number_end - 1);
  for (const auto& [gguf, canonical] : kLayerNames) {
    if (layer_name == gguf) return "model.layers." + number + "." + canonical + suffix;
  }
  return {};
}

}  // namespace octet
