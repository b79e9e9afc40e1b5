#include "formats/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/rope_llama3.h"

namespace octet {
namespace {

// Reads "<architecture>.<name>" keys; keeps the first mistake.
class Keys {
 public:
  Keys(const GgufFile& gguf, std::string prefix) : gguf_(gguf), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const { return gguf_.find(prefix_ + name) != nullptr; }
  void read(const std::string& name, int32_t* out) {
    if (!has(name)) return;
    const auto value = gguf_.integer(prefix_ + name);
    if (!value || *value < 0 || *value > INT32_MAX) return fail(name, "expected an integer of 31 bits");
    *out = static_cast<int32_t>(*value);
  }
  void read(const std::string& name, float* out) {
    if (!has(name)) return;
    const auto value = gguf_.number(prefix_ + name);
    if (!value || !std::isfinite(static_cast<float>(*value))) return fail(name, "expected a number");
    *out = static_cast<float>(*value);
  }
  void read(const std::string& name, bool* out) {
    if (!has(name)) return;
    const auto value = gguf_.boolean(prefix_ + name);
    if (!value) return fail(name, "expected a boolean");
    *out = *value;
  }
  void read(const std::string& name, std::string* out) {
    if (!has(name)) return;
    const auto value = gguf_.text(prefix_ + name);
    if (!value) return fail(name, "expected a string");
    *out = *value;
  }
  // A number, or one number for each layer that is the same for all.
  void read_uniform(const std::string& name, int32_t* out) {
    const GgufArray* array = gguf_.array(prefix_ + name);
    if (array == nullptr) return read(name, out);
    const auto values = array->ints();
    if (!values || values->empty()) return fail(name, "expected integers");
    if (std::adjacent_find(values->begin(), values->end(), std::not_equal_to<>()) != values->end()) {
      return fail(unsupported("metadata " + prefix_ + name + ": expected the same number for every layer"));
    }
    *out = values->front();
  }
  template <typename T>
  void require(const std::string& name, T* out) {
    if (!has(name)) return fail(name, "is missing");
    read_uniform_or(name, out);
  }
  void fail(const std::string& name, const std::string& what) {
    fail(corrupt("metadata " + prefix_ + name + ": " + what));
  }
  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const Status& status() const { return status_; }

 private:
  void read_uniform_or(const std::string& name, int32_t* out) { read_uniform(name, out); }
  void read_uniform_or(const std::string& name, float* out) { read(name, out); }
  void read_uniform_or(const std::string& name, std::string* out) { read(name, out); }
  const GgufFile& gguf_;
  std::string prefix_;
  Status status_;
};

const GgufTensor* find_tensor(const GgufFile& gguf, const std::string& name) {
  for (const auto& tensor : gguf.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

Status check_architecture(const GgufFile& gguf, std::string* architecture) {
  Keys general(gguf, "");
  general.require("general.architecture", architecture);
  int32_t parts = 0;
  general.read("split.count", &parts);
  OCTET_RETURN_IF_ERROR(general.status());
  if (*architecture != "llama" && *architecture != "qwen2" && *architecture != "qwen3") {
    return unsupported("general.architecture: the architecture \"" + *architecture +
                       "\" is unknown; supported are llama, qwen2, qwen3");
  }
  if (parts > 1) {
    return unsupported("split.count: one of " + std::to_string(parts) +
                       " parts; merge them into one file first (llama-gguf-split --merge)");
  }
  return {};
}

Status read_rope_factors(const GgufFile& gguf, int32_t head_dim, RopeConfig* rope) {
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (find_tensor(gguf, name) != nullptr) {
      return unsupported(std::string("tensor ") + name + ": the rope type longrope is not supported");
    }
  }
  const GgufTensor* factors = find_tensor(gguf, "rope_freqs.weight");
  if (factors == nullptr) return {};
  const auto expected = static_cast<size_t>(head_dim / 2);
  if (factors->type != DType::kF32 || factors->data.size() != expected * sizeof(float)) {
    return corrupt("tensor rope_freqs.weight: expected " + std::to_string(expected) +
                   " values of f32, found " + std::to_string(factors->data.size()) + " bytes of " +
                   dtype_name(factors->type));
  }
  rope->gguf_factors.resize(expected);
  if (expected > 0) std::memcpy(rope->gguf_factors.data(), factors->data.data(), factors->data.size());
  recover_llama3_parameters(rope, head_dim);
  return {};
}

void read_rope(Keys& keys, int32_t head_dim, RopeConfig* rope) {
  keys.read("rope.freq_base", &rope->theta);
  int32_t dimensions = head_dim;
  keys.read("rope.dimension_count", &dimensions);
  if (dimensions != head_dim) {
    keys.fail(unsupported("metadata rope.dimension_count: expected the head's " + std::to_string(head_dim) +
                          ", found " + std::to_string(dimensions)));
  }
  std::string type = "none";
  keys.read("rope.scaling.type", &type);
  float factor = 1;
  if (!keys.has("rope.scaling.type") && keys.has("rope.scale_linear")) {  // how older files say it
    keys.read("rope.scale_linear", &factor);
    if (factor != 1) type = "linear";
  }
  if (type == "linear") {
    rope->type = RopeType::kLinear;
    keys.read("rope.scaling.factor", &factor);
    rope->factor = factor;
  } else if (type != "none") {
    keys.fail(unsupported("metadata rope.scaling.type: the rope type \"" + type +
                          "\" is not supported; there are none, linear, and rope_freqs.weight"));
  }
}

void read_sizes(Keys& keys, const GgufFile& gguf, ModelConfig* config) {
  keys.require("block_count", &config->n_layers);
  keys.require("embedding_length", &config->hidden_size);
  keys.require("feed_forward_length", &config->intermediate_size);
  keys.require("attention.head_count", &config->n_heads);
  keys.require("context_length", &config->max_context);
  keys.require("attention.layer_norm_rms_epsilon", &config->norm_eps);
  config->n_kv_heads = config->n_heads;
  keys.read_uniform("attention.head_count_kv", &config->n_kv_heads);
  if (config->n_heads > 0) config->head_dim = config->hidden_size / config->n_heads;
  keys.read("attention.key_length", &config->head_dim);
  int32_t value_length = config->head_dim;
  keys.read("attention.value_length", &value_length);
  if (value_length != config->head_dim) {
    keys.fail(unsupported("metadata attention.value_length: expected attention.key_length (" +
                          std::to_string(config->head_dim) + "), found " + std::to_string(value_length)));
  }
  int32_t experts = 0;
  keys.read("expert_count", &experts);
  if (experts > 0) keys.fail(unsupported("metadata expert_count: models with experts are not supported"));
  keys.read("attention.sliding_window", &config->sliding_window);
  // The table of embeddings is the vocabulary's size; the metadata may leave it out.
  if (const auto* table = find_tensor(gguf, "token_embd.weight");
      table != nullptr && table->shape.size() == 2) {
    config->vocab_size = static_cast<int32_t>(std::min<int64_t>(table->shape[0], INT32_MAX));
  } else {
    keys.require("vocab_size", &config->vocab_size);
  }
}

// The 16-bit type that the linear layers are in; block types are computed with as bf16.
QType sixteen_bit_type(const GgufFile& gguf) {
  const auto* tensor = find_tensor(gguf, "blk.0.ffn_down.weight");
  if (tensor == nullptr) return QType::kBF16;
  if (tensor->type == DType::kF16) return QType::kF16;
  if (tensor->type == DType::kF32) return QType::kF32;
  return QType::kBF16;
}

void read_special_ids(const GgufFile& gguf, ModelConfig* config) {
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const auto id = gguf.integer(key);
    if (!id || *id < 0 || *id >= config->vocab_size) continue;  // -1 and 2^32 - 1 mean none
    const auto value = static_cast<int32_t>(*id);
    auto& ids = config->eos_ids;
    if (std::find(ids.begin(), ids.end(), value) == ids.end()) ids.push_back(value);
  }
  const auto bos = gguf.integer("tokenizer.ggml.bos_token_id");
  if (bos && *bos >= 0 && *bos < config->vocab_size) config->bos_id = static_cast<int32_t>(*bos);
}

Result<ModelConfig> read_config(const GgufFile& gguf) {
  ModelConfig config;
  OCTET_RETURN_IF_ERROR(check_architecture(gguf, &config.architecture));
  Keys keys(gguf, config.architecture + ".");
  read_sizes(keys, gguf, &config);
  read_rope(keys, config.head_dim, &config.rope);
  OCTET_RETURN_IF_ERROR(keys.status());
  OCTET_RETURN_IF_ERROR(read_rope_factors(gguf, config.head_dim, &config.rope));
  config.tied_embeddings = find_tensor(gguf, "output.weight") == nullptr;
  config.qkv_bias = find_tensor(gguf, "blk.0.attn_q.bias") != nullptr;
  config.o_bias = find_tensor(gguf, "blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = find_tensor(gguf, "blk.0.ffn_down.bias") != nullptr;
  config.qk_norm = find_tensor(gguf, "blk.0.attn_q_norm.weight") != nullptr;
  config.dtype = sixteen_bit_type(gguf);
  read_special_ids(gguf, &config);
  OCTET_RETURN_IF_ERROR(config.validate());
  return config;
}

// An id of the vocabulary, or -1 for none.
void read_id(const GgufFile& gguf, const char* key, size_t n_tokens, int32_t* out) {
  const auto id = gguf.integer(key);
  if (id && *id >= 0 && static_cast<uint64_t>(*id) < n_tokens) *out = static_cast<int32_t>(*id);
}

Status read_vocabulary(const GgufFile& gguf, GgufVocabulary* vocabulary) {
  Keys keys(gguf, "tokenizer.ggml.");
  keys.require("model", &vocabulary->model);
  keys.read("pre", &vocabulary->pre);
  // What llama.cpp does where the file does not say.
  vocabulary->add_bos =
      vocabulary->model == "llama" || vocabulary->pre == "llama-bpe" || vocabulary->pre == "llama3";
  keys.read("add_bos_token", &vocabulary->add_bos);
  keys.read("add_eos_token", &vocabulary->add_eos);
  keys.read("add_space_prefix", &vocabulary->add_space_prefix);
  OCTET_RETURN_IF_ERROR(keys.status());

  const auto strings = [&](const char* key, std::vector<std::string>* out) -> Status {
    const GgufArray* array = gguf.array(key);
    auto values = array == nullptr ? std::nullopt : array->strings();
    if (!values) return corrupt(std::string("metadata ") + key + ": expected an array of strings");
    *out = std::move(*values);
    return {};
  };
  OCTET_RETURN_IF_ERROR(strings("tokenizer.ggml.tokens", &vocabulary->tokens));
  const size_t n = vocabulary->tokens.size();
  if (gguf.find("tokenizer.ggml.merges") != nullptr) {
    OCTET_RETURN_IF_ERROR(strings("tokenizer.ggml.merges", &vocabulary->merges));
  }
  const auto wrong_size = [&](const std::string& key, size_t found) {
    return corrupt("metadata " + key + ": expected one number for each of the " + std::to_string(n) +
                   " tokens, found " + std::to_string(found));
  };
  if (const GgufArray* scores = gguf.array("tokenizer.ggml.scores")) {
    auto values = scores->floats();
    if (!values || values->size() != n)
      return wrong_size("tokenizer.ggml.scores", values ? values->size() : 0);
    vocabulary->scores = std::move(*values);
  }
  if (const GgufArray* types = gguf.array("tokenizer.ggml.token_type")) {
    auto values = types->ints();
    if (!values || values->size() != n)
      return wrong_size("tokenizer.ggml.token_type", values ? values->size() : 0);
    vocabulary->types = std::move(*values);
  }
  read_id(gguf, "tokenizer.ggml.bos_token_id", n, &vocabulary->bos_id);
  read_id(gguf, "tokenizer.ggml.eos_token_id", n, &vocabulary->eos_id);
  read_id(gguf, "tokenizer.ggml.unknown_token_id", n, &vocabulary->unk_id);
  read_id(gguf, "tokenizer.ggml.padding_token_id", n, &vocabulary->pad_id);
  return {};
}

}  // namespace

Result<ModelConfig> gguf_model_config(const GgufFile& gguf, const std::string& file) {
  auto config = read_config(gguf);
  if (!config.ok()) return config.status().with_context(file);
  return config;
}

Result<TokenizerSpec> gguf_tokenizer(const GgufFile& gguf, const std::string& file) {
  TokenizerSpec spec;
  if (gguf.find("tokenizer.ggml.tokens") == nullptr) return spec;
  OCTET_RETURN_IF_ERROR(read_vocabulary(gguf, &spec.gguf).with_context(file));
  spec.chat_template = gguf.text("tokenizer.chat_template").value_or("");
  return spec;
}

}  // namespace octet
