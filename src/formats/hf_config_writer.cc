#include "formats/hf_config_writer.h"

#include <charconv>

#include <nlohmann/json.hpp>

#include "formats/json_fields.h"

namespace octet {
namespace {

using nlohmann::json;

// The double that prints as short as the float does: 1e-05 instead of 9.999999747378752e-06.
double shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double result = value;
  std::from_chars(text, end, result);
  return result;
}

const char* class_name(const std::string& model_type) {
  if (model_type == "mistral") return "MistralForCausalLM";
  if (model_type == "qwen2") return "Qwen2ForCausalLM";
  if (model_type == "qwen3") return "Qwen3ForCausalLM";
  return "LlamaForCausalLM";
}

const char* dtype_text(QType type) {
  if (type == QType::kF16) return "float16";
  return type == QType::kF32 ? "float32" : "bfloat16";
}

json ids(const std::vector<int32_t>& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? json(ids[0]) : json(ids);
}

// rope_parameters is transformers 5's spelling, rope_scaling and rope_theta that of 4; each reads its own.
void write_rope(const RopeConfig& rope, json* out) {
  json scaling{{"rope_type", "default"}};
  if (rope.type == RopeType::kLinear) {
    scaling = {{"rope_type", "linear"}, {"factor", shortest(rope.factor)}};
  } else if (rope.type == RopeType::kLlama3) {
    scaling = {{"rope_type", "llama3"},
               {"factor", shortest(rope.factor)},
               {"low_freq_factor", shortest(rope.low_freq_factor)},
               {"high_freq_factor", shortest(rope.high_freq_factor)},
               {"original_max_position_embeddings", rope.original_context}};
  }
  (*out)["rope_theta"] = shortest(rope.theta);
  (*out)["rope_scaling"] = rope.type == RopeType::kDefault ? json(nullptr) : scaling;
  scaling["rope_theta"] = shortest(rope.theta);
  (*out)["rope_parameters"] = scaling;
}

void write_window(const ModelConfig& config, const std::string& model_type, json* out) {
  if (model_type == "llama") return;
  (*out)["sliding_window"] = config.sliding_window > 0 ? json(config.sliding_window) : json(nullptr);
  if (model_type == "mistral") return;
  (*out)["use_sliding_window"] = config.sliding_window > 0;
  if (config.sliding_window > 0) (*out)["max_window_layers"] = 0;
}

// Llama's class has all its biases or none of attention's; the other families have theirs fixed.
Status check_expressible(const ModelConfig& config, const std::string& model_type) {
  if (!config.rope.gguf_factors.empty()) {
    return unsupported(config.name +
                       ": its rotation factors (rope_freqs.weight) are not those of a llama3 scaling, "
                       "which is all that a config.json can say");
  }
  const bool is_llama = model_type == "llama", is_qwen2 = model_type == "qwen2",
             is_qwen3 = model_type == "qwen3";
  const bool attention_fits =
      is_qwen2 ? config.qkv_bias && !config.o_bias
               : config.qkv_bias == config.o_bias && (is_llama || is_qwen3 || !config.qkv_bias);
  if (attention_fits && (is_llama || !config.mlp_bias) && config.qk_norm == is_qwen3) return {};
  return unsupported(config.name + ": its biases and norms are not those of a " + model_type +
                     " model, which is all that its config.json can say");
}

}  // namespace

Result<json> make_hf_config(const ModelConfig& config, const json& base) {
  // GGUF files of Mistral call it llama; the window tells.
  const std::string model_type =
      config.architecture == "llama" && config.sliding_window > 0 ? "mistral" : config.architecture;
  OCTET_RETURN_IF_ERROR(check_expressible(config, model_type));
  json out = base.is_object() ? base : json::object();
  out["architectures"] = {class_name(model_type)};
  out["model_type"] = model_type;
  out["vocab_size"] = config.vocab_size;
  out["hidden_size"] = config.hidden_size;
  out["intermediate_size"] = config.intermediate_size;
  out["num_hidden_layers"] = config.n_layers;
  out["num_attention_heads"] = config.n_heads;
  out["num_key_value_heads"] = config.n_kv_heads;
  out["head_dim"] = config.head_dim;
  out["max_position_embeddings"] = config.max_context;
  out["rms_norm_eps"] = shortest(config.norm_eps);
  out["hidden_act"] = "silu";
  out["tie_word_embeddings"] = config.tied_embeddings;
  if (model_type == "llama" || model_type == "qwen3") out["attention_bias"] = config.qkv_bias;
  if (model_type == "llama") out["mlp_bias"] = config.mlp_bias;
  write_rope(config.rope, &out);
  write_window(config, model_type, &out);
  out["dtype"] = out["torch_dtype"] = dtype_text(config.dtype);
  out["eos_token_id"] = ids(config.eos_ids);
  out["bos_token_id"] = config.bos_id >= 0 ? json(config.bos_id) : json(nullptr);
  out.erase("quantization_config");
  out.erase(kRecordField);
  out.erase("compression_config");
  return out;
}

json record_json(const QuantizationRecord& record) {
  json out = {{"scheme", record.scheme}, {"weights", record.weights}, {"smoothed", record.smoothed}};
  if (record.dynamic_instead > 0) out["dynamic_instead"] = record.dynamic_instead;
  return out;
}

Result<std::optional<QuantizationRecord>> parse_record(const json& config, const std::string& file) {
  const JsonFields fields(config, file);
  const json* found = fields.find(kRecordField);
  if (found == nullptr) return std::optional<QuantizationRecord>();
  if (!found->is_object()) return corrupt(file + ": " + kRecordField + ": expected an object");
  JsonFields own(*found, file + ": " + kRecordField);
  QuantizationRecord record;
  int32_t dynamic_instead = 0;
  own.require("scheme", &record.scheme);
  own.read("weights", &record.weights);
  own.read("smoothed", &record.smoothed);
  own.read("dynamic_instead", &dynamic_instead);
  OCTET_RETURN_IF_ERROR(own.status());
  record.dynamic_instead = dynamic_instead;
  return std::optional(record);
}

json make_generation_config(const ModelConfig& config, const GenerationDefaults& defaults) {
  const GenerationDefaults none;
  json out = json::object();
  if (!config.eos_ids.empty()) out["eos_token_id"] = ids(config.eos_ids);
  if (config.bos_id >= 0) out["bos_token_id"] = config.bos_id;
  const auto put = [&](const char* key, float value, float usual) {
    if (value != usual) out[key] = shortest(value);
  };
  put("temperature", defaults.temperature, none.temperature);
  put("top_p", defaults.top_p, none.top_p);
  put("min_p", defaults.min_p, none.min_p);
  put("repetition_penalty", defaults.repetition_penalty, none.repetition_penalty);
  if (defaults.top_k != none.top_k) out["top_k"] = defaults.top_k;
  const bool samples =
      out.contains("temperature") || out.contains("top_p") || out.contains("min_p") || out.contains("top_k");
  if (samples) out["do_sample"] = true;  // transformers ignores them otherwise
  return out;
}

}  // namespace octet
