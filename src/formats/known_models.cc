// Shapes of released models, from their config.json, and checkpoints of random weights in them.
#include <array>
#include <filesystem>

#include "formats/checkpoint_builder.h"
#include "formats/expected_tensors.h"
#include "formats/random_weights.h"

namespace octet {
namespace {

struct KnownModel {
  const char* name;
  const char* architecture;
  int32_t vocab, hidden, inner, layers, heads, kv_heads, head_dim, context;
  float eps, theta, llama3_factor;  // factor 0: no rope scaling
  bool tied;
};

constexpr std::array kModels = {
    KnownModel{"llama-2-7b", "llama", 32000, 4096, 11008, 32, 32, 32, 128, 4096, 1e-5f, 1e4f, 0, false},
    KnownModel{"llama-3-8b", "llama", 128256, 4096, 14336, 32, 32, 8, 128, 8192, 1e-5f, 5e5f, 0, false},
    KnownModel{"llama-3.1-8b", "llama", 128256, 4096, 14336, 32, 32, 8, 128, 131072, 1e-5f, 5e5f, 8, false},
    KnownModel{"llama-3.1-70b", "llama", 128256, 8192, 28672, 80, 64, 8, 128, 131072, 1e-5f, 5e5f, 8, false},
    KnownModel{"llama-3.2-1b", "llama", 128256, 2048, 8192, 16, 32, 8, 64, 131072, 1e-5f, 5e5f, 32, true},
    KnownModel{"llama-3.2-3b", "llama", 128256, 3072, 8192, 28, 24, 8, 128, 131072, 1e-5f, 5e5f, 32, true},
    KnownModel{"mistral-7b", "mistral", 32768, 4096, 14336, 32, 32, 8, 128, 32768, 1e-5f, 1e6f, 0, false},
    KnownModel{"qwen2.5-0.5b", "qwen2", 151936, 896, 4864, 24, 14, 2, 64, 32768, 1e-6f, 1e6f, 0, true},
    KnownModel{"qwen2.5-7b", "qwen2", 152064, 3584, 18944, 28, 28, 4, 128, 131072, 1e-6f, 1e6f, 0, false},
    KnownModel{"qwen3-0.6b", "qwen3", 151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e-6f, 1e6f, 0, true},
    KnownModel{"qwen3-8b", "qwen3", 151936, 4096, 12288, 36, 32, 8, 128, 40960, 1e-6f, 1e6f, 0, false},
    KnownModel{"smollm2-135m", "llama", 49152, 576, 1536, 30, 9, 3, 64, 8192, 1e-5f, 1e5f, 0, true},
    KnownModel{"smollm2-360m", "llama", 49152, 960, 2560, 32, 15, 5, 64, 8192, 1e-5f, 1e5f, 0, true},
    KnownModel{"smollm2-1.7b", "llama", 49152, 2048, 8192, 24, 32, 32, 64, 8192, 1e-5f, 1.3e5f, 0, true},
};

ModelConfig config_of(const KnownModel& model) {
  ModelConfig config;
  config.architecture = model.architecture;
  config.name = model.name;
  config.vocab_size = model.vocab;
  config.hidden_size = model.hidden;
  config.intermediate_size = model.inner;
  config.n_layers = model.layers;
  config.n_heads = model.heads;
  config.n_kv_heads = model.kv_heads;
  config.head_dim = model.head_dim;
  config.max_context = model.context;
  config.norm_eps = model.eps;
  config.rope.theta = model.theta;
  if (model.llama3_factor > 0) {
    config.rope.type = RopeType::kLlama3;
    config.rope.factor = model.llama3_factor;
    config.rope.original_context = 8192;
  }
  config.tied_embeddings = model.tied;
  config.qkv_bias = config.architecture == "qwen2";
  config.qk_norm = config.architecture == "qwen3";
  return config;
}

}  // namespace

std::vector<std::string> known_model_names() {
  std::vector<std::string> names;
  for (const auto& model : kModels) names.emplace_back(model.name);
  return names;
}

Result<ModelConfig> known_model(const std::string& name) {
  std::string known;
  for (const auto& model : kModels) {
    if (name == model.name) return config_of(model);
    known += (known.empty() ? "" : ", ") + std::string(model.name);
  }
  return not_found(name + ": expected a folder with a config.json, or one of " + known);
}

std::vector<std::string> Checkpoint::random_names() {
  return known_model_names();
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::random(const std::string& source, uint64_t seed) {
  CheckpointBuilder builder(source, "random");
  Checkpoint& checkpoint = builder.checkpoint();
  std::error_code ignored;
  if (std::filesystem::is_directory(source, ignored)) {
    OCTET_RETURN_IF_ERROR(read_hf_config_files(source, &checkpoint));
    OCTET_RETURN_IF_ERROR(read_tokenizer_files(source, &checkpoint.tokenizer));
  } else {
    OCTET_ASSIGN_OR_RETURN(checkpoint.config, known_model(source));
  }
  checkpoint.config.dtype = QType::kBF16;
  builder.make_random(seed);
  for (const auto& expected : expected_tensors(checkpoint.config)) {
    builder.add({expected.name, DType::kBF16, expected.shape, {}, source});
  }
  return builder.finish();
}

}  // namespace octet
