#include "formats/hf_config.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "formats/json_fields.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr std::array kArchitectures = {"llama", "mistral", "qwen2", "qwen3"};

Status check_architecture(const std::string& name) {
  std::string known;
  for (const char* architecture : kArchitectures) {
    if (name == architecture) return {};
    known += (known.empty() ? "" : ", ") + std::string(architecture);
  }
  return unsupported("model_type: the architecture \"" + name + "\" is unknown; supported are " + known);
}

void parse_rope_type(JsonFields& fields, const std::string& type, RopeConfig* rope) {
  if (type == "default") return;
  if (type == "linear") {
    rope->type = RopeType::kLinear;
    fields.require("factor", &rope->factor);
  } else if (type == "llama3") {
    rope->type = RopeType::kLlama3;
    fields.require("factor", &rope->factor);
    fields.require("low_freq_factor", &rope->low_freq_factor);
    fields.require("high_freq_factor", &rope->high_freq_factor);
    fields.require("original_max_position_embeddings", &rope->original_context);
  } else {
    fields.fail(unsupported(fields.where() + ": the rope type \"" + type +
                            "\" is not supported; there are default, linear, llama3"));
  }
}

void parse_rope(JsonFields& config, RopeConfig* rope) {
  config.read("rope_theta", &rope->theta);
  float partial = 1.0f;
  config.read("partial_rotary_factor", &partial);
  const bool new_spelling = config.has("rope_parameters");
  const char* key = new_spelling ? "rope_parameters" : "rope_scaling";
  if (const json* scaling = config.find(key)) {
    JsonFields fields(*scaling, config.where() + ": " + key);
    fields.read("rope_theta", &rope->theta);
    fields.read("partial_rotary_factor", &partial);
    std::string type = "default";
    fields.read("type", &type);
    fields.read("rope_type", &type);
    parse_rope_type(fields, type, rope);
    // transformers 5 has one set for each kind of layer in models that mix them.
    if (fields.has("full_attention") || fields.has("sliding_attention")) {
      fields.fail(unsupported(fields.where() + ": rope parameters that differ by layer are not supported"));
    }
    config.fail(fields.status());
  }
  if (partial != 1.0f) {
    config.fail(unsupported(config.where() + ": partial_rotary_factor: expected 1, found " +
                            std::to_string(partial)));
  }
}

// Qwen's window applies to some layers only: layer_types says which, or the layers from max_window_layers on.
int32_t windowed_layers(JsonFields& fields, int32_t n_layers) {
  if (const json* types = fields.find("layer_types")) {
    if (!types->is_array() || types->size() != static_cast<size_t>(n_layers)) {
      fields.fail("layer_types",
                  "expected a list of " + std::to_string(n_layers) + " names, found " + brief(*types));
      return 0;
    }
    int32_t windowed = 0;
    for (const json& type : *types) {
      if (type == "sliding_attention") {
        ++windowed;
      } else if (type != "full_attention") {
        fields.fail(unsupported(fields.where() +
                                ": layer_types: expected full_attention or sliding_attention, found " +
                                brief(type)));
      }
    }
    return windowed;
  }
  int32_t first = 28;
  fields.read("max_window_layers", &first);
  return std::clamp(n_layers - first, 0, n_layers);
}

void parse_window(JsonFields& fields, ModelConfig* config) {
  if (config->architecture == "llama") return;
  const bool qwen = config->architecture != "mistral";
  bool use = !qwen;
  if (qwen) fields.read("use_sliding_window", &use);
  if (!use) return;
  // transformers' classes have a window of 4,096 where the field is absent, none where it is null.
  int32_t window = fields.is_null("sliding_window") ? 0 : 4096;
  fields.read("sliding_window", &window);
  if (qwen && window != 0) {
    const int32_t windowed = windowed_layers(fields, config->n_layers);
    if (windowed == 0) return;
    if (windowed != config->n_layers) {
      fields.fail(unsupported(fields.where() + ": sliding_window: only " + std::to_string(windowed) + " of " +
                              std::to_string(config->n_layers) +
                              " layers have it; supported are all or none"));
    }
  }
  config->sliding_window = window;
}

void parse_dtype(JsonFields& fields, ModelConfig* config) {
  std::string dtype = "bfloat16";
  fields.read("torch_dtype", &dtype);
  fields.read("dtype", &dtype);
  if (dtype == "bfloat16") {
    config->dtype = QType::kBF16;
  } else if (dtype == "float16") {
    config->dtype = QType::kF16;
  } else if (dtype == "float32") {
    config->dtype = QType::kF32;
  } else {
    fields.fail(unsupported(fields.where() + ": dtype: expected bfloat16, float16 or float32, found \"" +
                            dtype + "\""));
  }
}

void parse_sizes(JsonFields& fields, ModelConfig* config) {
  fields.require("vocab_size", &config->vocab_size);
  fields.require("hidden_size", &config->hidden_size);
  fields.require("intermediate_size", &config->intermediate_size);
  fields.require("num_hidden_layers", &config->n_layers);
  fields.require("num_attention_heads", &config->n_heads);
  fields.require("max_position_embeddings", &config->max_context);
  config->n_kv_heads = config->n_heads;
  if (config->architecture == "llama") {
    fields.read("num_key_value_heads", &config->n_kv_heads);  // Llama 1 and 2 may leave it out
  } else {
    fields.require("num_key_value_heads", &config->n_kv_heads);
  }
  if (config->architecture == "qwen3") {
    config->head_dim = 128;
  } else if (config->n_heads > 0) {
    config->head_dim = config->hidden_size / config->n_heads;
  }
  fields.read("head_dim", &config->head_dim);
  config->norm_eps = 1e-6f;
  fields.read("rms_norm_eps", &config->norm_eps);
}

void parse_flags(JsonFields& fields, ModelConfig* config) {
  bool attention_bias = false;
  fields.read("tie_word_embeddings", &config->tied_embeddings);
  if (config->architecture == "llama" || config->architecture == "qwen3") {
    fields.read("attention_bias", &attention_bias);
  }
  config->qkv_bias = attention_bias || config->architecture == "qwen2";
  config->o_bias = attention_bias;
  config->qk_norm = config->architecture == "qwen3";
  if (config->architecture == "llama") fields.read("mlp_bias", &config->mlp_bias);
  std::string activation = "silu";
  fields.read("hidden_act", &activation);
  if (activation != "silu") {
    fields.fail(unsupported(fields.where() + ": hidden_act: expected silu, found \"" + activation + "\""));
  }
}

void read_range(JsonFields& fields, const char* key, float low, float high, bool low_allowed, float* out) {
  float value = *out;
  fields.read(key, &value);
  if (value < low || value > high || (value == low && !low_allowed)) {
    return fields.fail(key, std::string("expected a number ") + (low_allowed ? "from " : "above ") +
                                std::to_string(low) + " up to " + std::to_string(high) + ", found " +
                                std::to_string(value));
  }
  *out = value;
}

}  // namespace

Result<ModelConfig> parse_hf_config(const json& json_config, const std::string& file) {
  JsonFields fields(json_config, file);
  ModelConfig config;
  fields.require("model_type", &config.architecture);
  OCTET_RETURN_IF_ERROR(fields.status());
  OCTET_RETURN_IF_ERROR(check_architecture(config.architecture).with_context(file));

  parse_sizes(fields, &config);
  parse_flags(fields, &config);
  parse_rope(fields, &config.rope);
  OCTET_RETURN_IF_ERROR(fields.status());
  parse_window(fields, &config);
  parse_dtype(fields, &config);
  fields.read_ids("eos_token_id", &config.eos_ids);
  std::vector<int32_t> bos;
  fields.read_ids("bos_token_id", &bos);
  if (!bos.empty()) config.bos_id = bos[0];
  OCTET_RETURN_IF_ERROR(fields.status());
  OCTET_RETURN_IF_ERROR(config.validate().with_context(file));
  return config;
}

Status parse_generation_config(const json& generation, const std::string& file, ModelConfig* config,
                               GenerationDefaults* defaults) {
  constexpr float kLarge = 1e4f;
  JsonFields fields(generation, file);
  fields.read_ids("eos_token_id", &config->eos_ids);
  read_range(fields, "temperature", 0.0f, kLarge, true, &defaults->temperature);
  read_range(fields, "top_p", 0.0f, 1.0f, false, &defaults->top_p);
  read_range(fields, "min_p", 0.0f, 1.0f, true, &defaults->min_p);
  read_range(fields, "repetition_penalty", 0.0f, kLarge, false, &defaults->repetition_penalty);
  fields.read("top_k", &defaults->top_k);
  if (defaults->top_k < -1) {
    fields.fail("top_k", "expected 0 (off) or more, found " + std::to_string(defaults->top_k));
  }
  defaults->top_k = std::max(defaults->top_k, 0);  // -1 means off, too
  OCTET_RETURN_IF_ERROR(fields.status());
  return config->validate().with_context(file);
}

}  // namespace octet
