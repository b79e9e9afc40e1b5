#include "model/weights.h"

#include <algorithm>
#include <tuple>

#include "base/progress.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

std::string layer_prefix(int32_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

Result<const CheckpointTensor*> need(const Checkpoint& checkpoint, const std::string& name) {
  if (const auto* tensor = checkpoint.find(name)) return tensor;
  return corrupt(checkpoint.path + ": tensor '" + name + "' is missing");
}

Result<std::vector<float>> read_vector(const Checkpoint& checkpoint, const std::string& name, int64_t n) {
  OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, name));
  const int64_t values = tensor->rows() * tensor->cols();
  if (values != n) {
    return corrupt(tensor->file + ": tensor '" + name + "' has " + std::to_string(values) +
                   " values, expected " + std::to_string(n));
  }
  std::vector<float> result(static_cast<size_t>(n));
  OCTET_RETURN_IF_ERROR(checkpoint.read_rows_f32(*tensor, 0, tensor->rows(), result.data()));
  return result;
}

Result<Buffer> upload_vector(const Checkpoint& checkpoint, const std::string& name, int64_t n, Ops& ops) {
  OCTET_ASSIGN_OR_RETURN(const auto values, read_vector(checkpoint, name, n));
  OCTET_ASSIGN_OR_RETURN(auto buffer, ops.allocate(values.size() * sizeof(float)));
  ops.upload(buffer.data(), values.data(), values.size() * sizeof(float));
  return buffer;
}

// The tensor that holds a module's weight: a tied head is the embedding.
std::string weight_name(const Checkpoint& checkpoint, const std::string& module) {
  if (module == "lm_head" && checkpoint.find("lm_head.weight") == nullptr &&
      checkpoint.config.tied_embeddings) {
    return "model.embed_tokens.weight";
  }
  return module + ".weight";
}

// Values are read and quantized some rows at a time, so that a large matrix never stands in memory as
// float32.
Status quantize_tensor(const Checkpoint& checkpoint, const CheckpointTensor& tensor, HostLinear& linear) {
  const int64_t rows_at_once = std::max<int64_t>(1, (int64_t{1} << 20) / linear.k);
  const size_t row_bytes = static_cast<size_t>(linear.k) * qtype_bytes(linear.scheme.weight.type);
  std::vector<float> values(static_cast<size_t>(std::min(rows_at_once, linear.n) * linear.k));
  for (int64_t row = 0; row < linear.n; row += rows_at_once) {
    const int64_t end = std::min(row + rows_at_once, linear.n);
    OCTET_RETURN_IF_ERROR(checkpoint.read_rows_f32(tensor, row, end, values.data()));
    quantize_rows(values.data(), end - row, linear.k, linear.scheme.weight,
                  linear.codes.data() + static_cast<size_t>(row) * row_bytes,
                  linear.scale.empty() ? nullptr : linear.scale.data() + row);
  }
  return {};
}

// Several modules stacked by rows into one.
HostLinear stack(std::vector<HostLinear> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  HostLinear all;
  all.k = parts.front().k;
  all.scheme = parts.front().scheme;
  const bool any_bias =
      std::any_of(parts.begin(), parts.end(), [](const auto& p) { return !p.bias.empty(); });
  for (auto& part : parts) {
    all.n += part.n;
    all.codes.insert(all.codes.end(), part.codes.begin(), part.codes.end());
    all.scale.insert(all.scale.end(), part.scale.begin(), part.scale.end());
    if (any_bias) {
      part.bias.resize(static_cast<size_t>(part.n), 0.0f);
      all.bias.insert(all.bias.end(), part.bias.begin(), part.bias.end());
    }
  }
  return all;
}

Result<LinearGroup> load_group(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                               const std::map<std::string, QuantScheme>& schemes, Ops& ops) {
  LinearGroup group;
  for (size_t begin = 0; begin < modules.size();) {
    const QuantScheme& scheme = schemes.at(modules[begin]);
    std::vector<HostLinear> same;
    size_t end = begin;
    for (; end < modules.size() && schemes.at(modules[end]) == scheme; ++end) {
      OCTET_ASSIGN_OR_RETURN(auto linear, read_linear(checkpoint, modules[end], scheme));
      same.push_back(std::move(linear));
    }
    const HostLinear stacked = stack(std::move(same));
    auto packed = ops.pack(stacked.view());
    if (!packed.ok()) return packed.status().with_context(modules[begin]);
    group.parts.push_back({std::move(packed).value(), group.n});
    group.n += stacked.n;
    group.k = stacked.k;
    begin = end;
  }
  return group;
}

int64_t group_bytes(const LinearGroup& group) {
  int64_t bytes = 0;
  for (const auto& part : group.parts) bytes += static_cast<int64_t>(part.weight->bytes);
  return bytes;
}

Result<LayerWeights> load_layer(const Checkpoint& checkpoint, int32_t layer,
                                const std::map<std::string, QuantScheme>& schemes, Ops& ops) {
  const ModelConfig& config = checkpoint.config;
  const std::string p = layer_prefix(layer);
  LayerWeights w;
  OCTET_ASSIGN_OR_RETURN(w.attention_norm,
                         upload_vector(checkpoint, p + "input_layernorm.weight", config.hidden_size, ops));
  OCTET_ASSIGN_OR_RETURN(
      w.mlp_norm, upload_vector(checkpoint, p + "post_attention_layernorm.weight", config.hidden_size, ops));
  if (config.qk_norm) {
    OCTET_ASSIGN_OR_RETURN(w.q_norm,
                           upload_vector(checkpoint, p + "self_attn.q_norm.weight", config.head_dim, ops));
    OCTET_ASSIGN_OR_RETURN(w.k_norm,
                           upload_vector(checkpoint, p + "self_attn.k_norm.weight", config.head_dim, ops));
  }
  OCTET_ASSIGN_OR_RETURN(w.qkv, load_group(checkpoint, qkv_modules(layer), schemes, ops));
  OCTET_ASSIGN_OR_RETURN(w.o, load_group(checkpoint, {p + "self_attn.o_proj"}, schemes, ops));
  OCTET_ASSIGN_OR_RETURN(w.gate_up, load_group(checkpoint, gate_up_modules(layer), schemes, ops));
  OCTET_ASSIGN_OR_RETURN(w.down, load_group(checkpoint, {p + "mlp.down_proj"}, schemes, ops));
  return w;
}

int64_t layer_bytes(const LayerWeights& w) {
  int64_t bytes = group_bytes(w.qkv) + group_bytes(w.o) + group_bytes(w.gate_up) + group_bytes(w.down);
  for (const Buffer* b : {&w.attention_norm, &w.mlp_norm, &w.q_norm, &w.k_norm}) {
    bytes += static_cast<int64_t>(b->bytes());
  }
  return bytes;
}

Status load_embedding(const Checkpoint& checkpoint, QType type, Ops& ops, ModelWeights& weights) {
  const ModelConfig& config = checkpoint.config;
  OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, "model.embed_tokens.weight"));
  HostLinear table;
  table.n = config.vocab_size;
  table.k = config.hidden_size;
  table.scheme.weight = {type, QScale::kNone, false, true};
  table.codes.resize(static_cast<size_t>(table.n * table.k) * qtype_bytes(type));
  OCTET_RETURN_IF_ERROR(quantize_tensor(checkpoint, *tensor, table));
  OCTET_ASSIGN_OR_RETURN(weights.embedding_data, ops.allocate(table.codes.size()));
  ops.upload(weights.embedding_data.data(), table.codes.data(), table.codes.size());
  weights.embedding = {weights.embedding_data.data(), code_dtype(type), table.n, table.k, table.k};
  return {};
}

}  // namespace

std::vector<std::string> qkv_modules(int32_t layer) {
  const std::string p = layer_prefix(layer) + "self_attn.";
  return {p + "q_proj", p + "k_proj", p + "v_proj"};
}

std::vector<std::string> gate_up_modules(int32_t layer) {
  const std::string p = layer_prefix(layer) + "mlp.";
  return {p + "gate_proj", p + "up_proj"};
}

bool LinearGroup::uniform_input() const {
  return std::all_of(parts.begin(), parts.end(),
                     [&](const Part& part) { return part.weight->scheme.input == input(); });
}

LinearWeights HostLinear::view() const {
  LinearWeights w;
  w.n = n;
  w.k = k;
  w.scheme = scheme;
  w.data = codes.data();
  w.scale = scale.empty() ? nullptr : scale.data();
  w.bias = bias.empty() ? nullptr : bias.data();
  return w;
}

Result<HostLinear> read_linear(const Checkpoint& checkpoint, const std::string& module,
                               const QuantScheme& scheme) {
  OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, weight_name(checkpoint, module)));
  HostLinear linear;
  linear.scheme = scheme;
  std::tie(linear.n, linear.k) = linear_shape(checkpoint.config, module);
  linear.codes.resize(static_cast<size_t>(linear.n * linear.k) * qtype_bytes(scheme.weight.type));
  if (scheme.weight.quantized()) linear.scale.resize(static_cast<size_t>(linear.n));
  if (checkpoint.find(module + ".bias") != nullptr) {
    OCTET_ASSIGN_OR_RETURN(linear.bias, read_vector(checkpoint, module + ".bias", linear.n));
  }
  if (checkpoint.scheme_of(module).weight.quantized()) {
    OCTET_RETURN_IF_ERROR(checkpoint.read_rows_raw(*tensor, 0, linear.n, linear.codes.data()));
    OCTET_ASSIGN_OR_RETURN(linear.scale, read_vector(checkpoint, module + ".weight_scale", linear.n));
  } else {
    OCTET_RETURN_IF_ERROR(quantize_tensor(checkpoint, *tensor, linear));
  }
  return linear;
}

Result<ModelWeights> load_weights(const Checkpoint& checkpoint,
                                  const std::map<std::string, QuantScheme>& schemes, Ops& ops) {
  const ModelConfig& config = checkpoint.config;
  ModelWeights weights;
  Progress progress("loading", "layers", config.n_layers);
  OCTET_RETURN_IF_ERROR(load_embedding(checkpoint, plain_type(checkpoint, schemes), ops, weights));
  for (int32_t layer = 0; layer < config.n_layers; ++layer) {
    OCTET_ASSIGN_OR_RETURN(auto loaded, load_layer(checkpoint, layer, schemes, ops));
    weights.bytes += layer_bytes(loaded);
    weights.layers.push_back(std::move(loaded));
    progress.advance();
  }
  OCTET_ASSIGN_OR_RETURN(weights.final_norm,
                         upload_vector(checkpoint, "model.norm.weight", config.hidden_size, ops));
  OCTET_ASSIGN_OR_RETURN(weights.head, load_group(checkpoint, {"lm_head"}, schemes, ops));
  weights.bytes += static_cast<int64_t>(weights.embedding_data.bytes() + weights.final_norm.bytes()) +
                   group_bytes(weights.head);
  return weights;
}

int64_t weight_bytes(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes) {
  const ModelConfig& config = checkpoint.config;
  int64_t bytes = static_cast<int64_t>(qtype_bytes(plain_type(checkpoint, schemes))) * config.vocab_size *
                  config.hidden_size;
  for (const auto& [module, scheme] : schemes) {
    const auto [n, k] = linear_shape(config, module);
    bytes += n * k * static_cast<int64_t>(qtype_bytes(scheme.weight.type));
    if (scheme.weight.quantized()) bytes += n * static_cast<int64_t>(sizeof(float));
  }
  const int64_t norms = int64_t{2} * config.n_layers + 1;
  return bytes + norms * config.hidden_size * static_cast<int64_t>(sizeof(float));
}

}  // namespace octet
