// Files for the tests of this folder: temporary folders, small safetensors and GGUF files made of bytes, tiny
// models.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "formats/checkpoint.h"
#include "formats/gguf.h"

namespace octet::testing {

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/octet-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }
  std::string read(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

inline std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline std::string safetensors_bytes(const std::string& header, size_t data_size) {
  return raw(uint64_t{header.size()}) + header + std::string(data_size, '\x01');
}

// Puts GGUF files together as the format says.
class GgufBytes {
 public:
  explicit GgufBytes(uint32_t version = 3) : version_(version) {}

  static std::string text(const std::string& s) { return raw(uint64_t{s.size()}) + s; }
  GgufBytes& value(const std::string& key, GgufType type, const std::string& bytes) {
    metadata_ += text(key) + raw(static_cast<uint32_t>(type)) + bytes;
    ++n_metadata_;
    return *this;
  }
  GgufBytes& u32(const std::string& key, uint32_t v) { return value(key, GgufType::kU32, raw(v)); }
  GgufBytes& f32(const std::string& key, float v) { return value(key, GgufType::kF32, raw(v)); }
  GgufBytes& boolean(const std::string& key, bool v) { return value(key, GgufType::kBool, raw(uint8_t{v})); }
  GgufBytes& string(const std::string& key, const std::string& v) {
    return value(key, GgufType::kString, text(v));
  }
  GgufBytes& strings(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw(static_cast<uint32_t>(GgufType::kString)) + raw(uint64_t{values.size()});
    for (const auto& v : values) bytes += text(v);
    return value(key, GgufType::kArray, bytes);
  }
  template <typename T>
  GgufBytes& numbers(const std::string& key, GgufType type, const std::vector<T>& values) {
    std::string bytes = raw(static_cast<uint32_t>(type)) + raw(uint64_t{values.size()});
    for (const T v : values) bytes += raw(v);
    return value(key, GgufType::kArray, bytes);
  }
  // `shape` outermost first, as everywhere here; the file has it the other way round. Type 0 is float32.
  GgufBytes& tensor(const std::string& name, const std::vector<uint64_t>& shape, const std::string& data,
                    uint32_t type = 0) {
    tensors_ += text(name) + raw(static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) tensors_ += raw(shape[i]);
    tensors_ += raw(type) + raw(uint64_t{data_.size()});
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++n_tensors_;
    return *this;
  }
  GgufBytes& floats(const std::string& name, const std::vector<uint64_t>& shape,
                    const std::vector<float>& values) {
    return tensor(name, shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  }
  std::string build() const {
    std::string file = "GGUF" + raw(version_) + raw(n_tensors_) + raw(n_metadata_) + metadata_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

 private:
  uint32_t version_;
  uint64_t n_tensors_ = 0, n_metadata_ = 0;
  std::string metadata_, tensors_, data_;
};

// Two layers, four query heads, two key heads of eight dimensions.
inline ModelConfig tiny_config(const std::string& architecture = "llama") {
  ModelConfig config;
  config.architecture = architecture;
  config.name = "tiny";
  config.vocab_size = 40;
  config.hidden_size = 24;
  config.intermediate_size = 48;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 8;
  config.max_context = 128;
  config.eos_ids = {2};
  config.bos_id = 1;
  config.qkv_bias = architecture == "qwen2";
  config.qk_norm = architecture == "qwen3";
  return config;
}

// config.json of a small Llama, for random weights.
inline std::string small_llama_config(int layers, int positions) {
  return R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 211,
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "num_hidden_layers": )" +
         std::to_string(layers) + R"(, "max_position_embeddings": )" + std::to_string(positions) + "}";
}

// A model whose shapes every CUDA kernel takes.
inline constexpr char kSmallLlama[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 1000,
  "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 8,
  "num_key_value_heads": 2, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16"
})";

// The model of a config.json, with random weights.
inline std::shared_ptr<Checkpoint> random_checkpoint(const std::string& config) {
  const TempFolder folder;
  folder.write("config.json", config);
  auto checkpoint = Checkpoint::random(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? *checkpoint : nullptr;
}

// A folder with the model in random 16-bit weights, written by this project's writer.
void write_tiny_model(const TempFolder& folder, const ModelConfig& config);
// The same with int8 or fp8 weights per channel in every block, scales of bf16.
void write_tiny_quantized_model(const TempFolder& folder, const ModelConfig& config,
                                const QuantScheme& scheme);

// "../shared/data" beside the repository, or what OCTET_SHARED names; empty where it is not there.
inline std::string shared_data() {
  const char* variable = std::getenv("OCTET_SHARED");
  const std::string path = std::string(variable != nullptr ? variable : "../shared") + "/data";
  return std::filesystem::is_directory(path) ? path : "";
}

}  // namespace octet::testing
