#include "formats/inspect.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "formats/hf_config_writer.h"

namespace octet {
namespace {

using nlohmann::json;

std::vector<Inspection::Type> types_of(const Checkpoint& checkpoint) {
  std::map<DType, Inspection::Type> by_type;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    auto& type = by_type[tensor.type];
    const int64_t values = tensor.rows() * tensor.cols();
    type.name = dtype_name(tensor.type);
    ++type.tensors;
    type.values += values;
    type.bytes += static_cast<int64_t>(dtype_bytes(tensor.type, static_cast<size_t>(values)));
  }
  std::vector<Inspection::Type> types;
  for (auto& [type, summary] : by_type) types.push_back(std::move(summary));
  std::stable_sort(types.begin(), types.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return types;
}

std::vector<Inspection::Scheme> schemes_of(const Checkpoint& checkpoint) {
  auto modules = linear_modules(checkpoint.config);
  modules.push_back("lm_head");
  std::vector<Inspection::Scheme> schemes;
  for (const auto& module : modules) {
    const std::string name = scheme_name(checkpoint.scheme_of(module), checkpoint.smoothed());
    auto it = std::find_if(schemes.begin(), schemes.end(), [&](const auto& s) { return s.name == name; });
    if (it == schemes.end()) it = schemes.insert(schemes.end(), {name, 0, module});
    ++it->modules;
  }
  std::stable_sort(schemes.begin(), schemes.end(),
                   [](const auto& a, const auto& b) { return a.modules > b.modules; });
  return schemes;
}

int64_t file_bytes_of(const Checkpoint& checkpoint) {
  std::set<std::string> files;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (!tensor.data.empty()) files.insert(tensor.file);
  }
  int64_t bytes = 0;
  for (const auto& file : files) {
    std::error_code error;
    const auto size = std::filesystem::file_size(file, error);
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

std::string tokenizer_of(const TokenizerSpec& spec) {
  if (spec.empty()) return "none";
  if (!spec.tokenizer_json.empty()) return "tokenizer.json";
  const auto& gguf = spec.gguf;
  return "gguf: " + gguf.model + (gguf.pre.empty() ? "" : "/" + gguf.pre) + ", " +
         std::to_string(gguf.tokens.size()) + " tokens";
}

std::string rope_text(const RopeConfig& rope) {
  char text[128];
  const char* type = rope.type == RopeType::kLlama3   ? "llama3"
                     : rope.type == RopeType::kLinear ? "linear"
                                                      : "default";
  std::snprintf(text, sizeof(text), "%s, theta %g", type, static_cast<double>(rope.theta));
  std::string result = text;
  if (rope.type != RopeType::kDefault) {
    std::snprintf(text, sizeof(text), ", factor %g", static_cast<double>(rope.factor));
    result += text;
  }
  if (!rope.gguf_factors.empty())
    result += ", " + std::to_string(rope.gguf_factors.size()) + " factors of the file";
  return result;
}

std::string count_text(int64_t n) {
  static constexpr std::array<std::pair<double, const char*>, 3> kUnits = {
      {{1e9, "B"}, {1e6, "M"}, {1e3, "K"}}};
  for (const auto& [size, unit] : kUnits) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.2f %s", static_cast<double>(n) / size, unit);
    if (static_cast<double>(n) >= size) return text;
  }
  return std::to_string(n);
}

std::string bytes_text(int64_t n) {
  char text[32];
  const bool gib = n >= int64_t{1} << 30;
  std::snprintf(text, sizeof(text), gib ? "%.2f GiB" : "%.1f MiB",
                static_cast<double>(n) / (gib ? 0x1p30 : 0x1p20));
  return text;
}

class Table {
 public:
  void line(const std::string& key, const std::string& value) {
    constexpr size_t kColumn = 14;
    std::string padded = key;
    padded.resize(std::max(kColumn, key.size() + 1), ' ');
    text_ += padded + value + "\n";
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string record_text(const QuantizationRecord& record) {
  std::string text = "by octet to " + record.scheme + ", weights by " + record.weights;
  if (record.smoothed) text += ", smoothed";
  if (record.dynamic_instead > 0)
    text += ", " + std::to_string(record.dynamic_instead) + " inputs dynamic because static was not safe";
  return text;
}

}  // namespace

Inspection inspect(const Checkpoint& checkpoint) {
  Inspection result;
  result.path = checkpoint.path;
  result.format = checkpoint.format;
  result.config = checkpoint.config;
  result.parameters = checkpoint.config.n_parameters();
  result.file_bytes = file_bytes_of(checkpoint);
  result.types = types_of(checkpoint);
  result.schemes = schemes_of(checkpoint);
  result.record = checkpoint.record;
  if (checkpoint.has_kv_quant) result.kv_cache = to_string(checkpoint.kv_quant);
  result.tokenizer = tokenizer_of(checkpoint.tokenizer);
  result.chat_template = !checkpoint.tokenizer.chat_template.empty();
  return result;
}

json to_json(const Inspection& i) {
  json types = json::array(), schemes = json::array();
  for (const auto& type : i.types) {
    types.push_back(
        {{"type", type.name}, {"tensors", type.tensors}, {"values", type.values}, {"bytes", type.bytes}});
  }
  for (const auto& scheme : i.schemes) {
    schemes.push_back({{"scheme", scheme.name}, {"modules", scheme.modules}, {"first", scheme.first}});
  }
  const ModelConfig& c = i.config;
  return {{"path", i.path},
          {"format", i.format},
          {"name", c.name},
          {"architecture", c.architecture},
          {"parameters", i.parameters},
          {"file_bytes", i.file_bytes},
          {"num_hidden_layers", c.n_layers},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_attention_heads", c.n_heads},
          {"num_key_value_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocab_size},
          {"max_position_embeddings", c.max_context},
          {"sliding_window", c.sliding_window > 0 ? json(c.sliding_window) : json(nullptr)},
          {"tie_word_embeddings", c.tied_embeddings},
          {"rope", rope_text(c.rope)},
          {"eos_token_ids", c.eos_ids},
          {"types", types},
          {"schemes", schemes},
          {kRecordField, i.record ? record_json(*i.record) : json(nullptr)},
          {"kv_cache", i.kv_cache.empty() ? json(nullptr) : json(i.kv_cache)},
          {"tokenizer", i.tokenizer},
          {"chat_template", i.chat_template}};
}

std::string to_text(const Inspection& i) {
  const ModelConfig& c = i.config;
  Table table;
  table.line("model", c.name + " (" + c.architecture + ", " + count_text(i.parameters) + " parameters)");
  table.line("path", i.path);
  table.line("format", i.format + (i.file_bytes > 0 ? ", " + bytes_text(i.file_bytes) : ""));
  table.line("layers", std::to_string(c.n_layers) + " of hidden size " + std::to_string(c.hidden_size) +
                           ", MLP " + std::to_string(c.intermediate_size));
  table.line("attention", std::to_string(c.n_heads) + " heads of " + std::to_string(c.head_dim) + ", " +
                              std::to_string(c.n_kv_heads) + " for keys and values" +
                              (c.sliding_window > 0 ? ", window " + std::to_string(c.sliding_window) : ""));
  table.line("vocabulary",
             std::to_string(c.vocab_size) + (c.tied_embeddings ? ", head tied to the embeddings" : ""));
  table.line("context", std::to_string(c.max_context) + " tokens; rope " + rope_text(c.rope));
  for (const auto& type : i.types) {
    table.line("tensors", std::to_string(type.tensors) + " of " + type.name + ", " + bytes_text(type.bytes));
  }
  for (const auto& scheme : i.schemes) {
    table.line("scheme", scheme.name + " in " + std::to_string(scheme.modules) + " linear module" +
                             (scheme.modules == 1 ? "" : "s") +
                             (scheme.modules == 1 ? " (" + scheme.first + ")" : ""));
  }
  if (i.record) table.line("quantized", record_text(*i.record));
  if (!i.kv_cache.empty()) table.line("KV cache", i.kv_cache);
  table.line("tokenizer", i.tokenizer + (i.chat_template ? ", with a chat template" : ", no chat template"));
  return table.take();
}

}  // namespace octet
