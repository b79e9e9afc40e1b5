#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

constexpr int kMostThreads = 16;
constexpr float kRandomInputMaximum = 8;  // of static inputs of random weights, which were never calibrated

std::string layer_prefix(int32_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

Result<const CheckpointTensor*> need(const Checkpoint& checkpoint, const std::string& name) {
  if (const auto* tensor = checkpoint.find(name)) return tensor;
  return corrupt(checkpoint.path + ": tensor '" + name + "' is missing");
}

Result<Buffer> upload_vector(const Checkpoint& checkpoint, const std::string& name, int64_t n, Ops& ops) {
  OCTET_ASSIGN_OR_RETURN(const auto values, read_values(checkpoint, name, n));
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

// Calls read(first row, rows, thread) for pieces of n rows, on several threads where there are several
// pieces; the first error of any ends it.
template <typename Read>
Status for_row_pieces(int64_t n, int64_t k, const Read& read) {
  const int64_t rows_at_once = std::clamp<int64_t>((int64_t{1} << 20) / k, 1, n);
  const int64_t n_pieces = (n + rows_at_once - 1) / rows_at_once;
  const auto n_threads = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, kMostThreads);
  ThreadPool pool(static_cast<int>(std::min(n_threads, n_pieces)));
  std::mutex mutex;
  Status result;
  pool.parallel_for(n_pieces, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t row = begin * rows_at_once, stop = std::min(end * rows_at_once, n); row < stop;
         row += rows_at_once) {
      const Status status = read(row, std::min(rows_at_once, stop - row), thread);
      const std::lock_guard lock(mutex);
      if (result.ok()) result = status;
      if (!result.ok()) return;
    }
  });
  return result;
}

// Calls use(values, first row, rows) for all rows of the tensor, some at a time, so that a large matrix never
// stands in memory as float32. `use` is called on several threads, for rows that differ.
template <typename Use>
Status for_rows(const Checkpoint& checkpoint, const CheckpointTensor& tensor, int64_t n, int64_t k,
                const Use& use) {
  std::vector<std::vector<float>> values(kMostThreads);
  return for_row_pieces(n, k, [&](int64_t row, int64_t rows, int thread) -> Status {
    values[thread].resize(std::max(values[thread].size(), static_cast<size_t>(rows * k)));
    OCTET_RETURN_IF_ERROR(checkpoint.read_rows_f32(tensor, row, row + rows, values[thread].data()));
    use(values[thread].data(), row, rows);
    return {};
  });
}

Status quantize_tensor(const Checkpoint& checkpoint, const CheckpointTensor& tensor, HostLinear& linear) {
  const QuantArgs& weight = linear.scheme.weight;
  const int64_t k = linear.k, groups = group_count(weight, k);
  const bool one_scale = weight.quantized() && weight.scale == QScale::kTensor;
  if (one_scale) {
    float largest = 0;
    std::mutex mutex;
    OCTET_RETURN_IF_ERROR(
        for_rows(checkpoint, tensor, linear.n, k, [&](const float* values, int64_t, int64_t rows) {
          float here = 0;
          for (int64_t i = 0; i < rows * k; ++i) here = std::max(here, std::fabs(values[i]));
          const std::lock_guard lock(mutex);
          largest = std::max(largest, here);
        }));
    linear.scale[0] = weight_scale(largest, weight.type);
  }
  return for_rows(checkpoint, tensor, linear.n, k, [&](const float* values, int64_t row, int64_t rows) {
    float* scale = linear.scale.data() + (one_scale || linear.scale.empty() ? 0 : row * groups);
    quantize_rows(values, rows, k, weight,
                  linear.codes.data() + static_cast<size_t>(row) * code_bytes(weight.type, k), scale);
  });
}

// Several modules stacked by rows into one. One scale a matrix becomes one a channel, with the same products.
HostLinear stack(std::vector<HostLinear> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  HostLinear all;
  all.k = parts.front().k;
  all.scheme = parts.front().scheme;
  all.input_scale = parts.front().input_scale;
  all.input_zero_point = parts.front().input_zero_point;
  const bool one_scale = all.scheme.weight.quantized() && all.scheme.weight.scale == QScale::kTensor;
  if (one_scale) all.scheme.weight.scale = QScale::kChannel;
  const bool any_bias =
      std::any_of(parts.begin(), parts.end(), [](const auto& p) { return !p.bias.empty(); });
  for (auto& part : parts) {
    all.n += part.n;
    all.codes.insert(all.codes.end(), part.codes.begin(), part.codes.end());
    if (one_scale) part.scale.resize(static_cast<size_t>(part.n), part.scale[0]);
    all.scale.insert(all.scale.end(), part.scale.begin(), part.scale.end());
    if (any_bias) {
      part.bias.resize(static_cast<size_t>(part.n), 0.0f);
      all.bias.insert(all.bias.end(), part.bias.begin(), part.bias.end());
    }
  }
  return all;
}

// A matrix of the checkpoint as it is: where its values lie in the file, or a copy where they do not lie
// there in order. The threads that fill a copy are the first to touch it.
struct Values {
  std::unique_ptr<uint8_t[]> copy;
  ValueRows rows;
};
Result<Values> read_values_raw(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  Values values;
  values.rows = {tensor.data.data(), tensor.type, tensor.rows()};
  if (!tensor.data.empty() && tensor.rope_heads == 0) return values;
  const size_t row_bytes = dtype_bytes(tensor.type, static_cast<size_t>(tensor.cols()));
  values.copy = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(tensor.rows()) * row_bytes);
  values.rows.data = values.copy.get();
  OCTET_RETURN_IF_ERROR(for_row_pieces(tensor.rows(), tensor.cols(), [&](int64_t row, int64_t rows, int) {
    return checkpoint.read_rows_raw(tensor, row, row + rows,
                                    values.copy.get() + static_cast<size_t>(row) * row_bytes);
  }));
  return values;
}

// Whether the backend can make the codes of these modules, as one matrix, of their values.
bool packs_values(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                  const std::map<std::string, QuantScheme>& schemes, const Ops& ops) {
  const QuantScheme& scheme = schemes.at(modules.front());
  const QType type = scheme.weight.type;
  const bool eight_bits =
      (type == QType::kInt8 || type == QType::kFp8) && scheme.weight.scale == QScale::kChannel;
  if (!ops.info().quantizes_weights || scheme.static_input()) return false;
  if (!eight_bits && type != QType::kBF16 && type != QType::kF16) return false;
  return std::all_of(modules.begin(), modules.end(), [&](const std::string& module) {
    const auto* tensor = checkpoint.find(weight_name(checkpoint, module));
    return tensor != nullptr && !is_block_type(tensor->type) &&
           !checkpoint.scheme_of(module).weight.quantized() && schemes.at(module) == scheme;
  });
}

Result<LinearGroup> load_values(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                                const QuantScheme& scheme, bool gated, Ops& ops) {
  LinearWeights weights;
  weights.scheme = scheme;
  weights.gated = gated;
  std::vector<Values> values;
  std::vector<float> bias;
  for (const auto& module : modules) {
    OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, weight_name(checkpoint, module)));
    OCTET_ASSIGN_OR_RETURN(auto matrix, read_values_raw(checkpoint, *tensor));
    values.push_back(std::move(matrix));
    weights.values.push_back(values.back().rows);
    if (checkpoint.find(module + ".bias") != nullptr) {
      bias.resize(static_cast<size_t>(weights.n), 0.0f);
      OCTET_ASSIGN_OR_RETURN(const auto part, read_values(checkpoint, module + ".bias", tensor->rows()));
      bias.insert(bias.end(), part.begin(), part.end());
    }
    weights.n += tensor->rows();
    weights.k = tensor->cols();
  }
  if (!bias.empty()) {
    bias.resize(static_cast<size_t>(weights.n), 0.0f);
    weights.bias = bias.data();
  }
  LinearGroup group;
  auto packed = ops.pack(weights);
  if (!packed.ok()) return packed.status().with_context(modules.front());
  group.parts.push_back({.weight = std::move(packed).value()});
  group.n = weights.n;
  group.k = weights.k;
  return group;
}

Status add_part(const HostLinear& linear, bool gated, Ops& ops, LinearGroup& group) {
  LinearGroup::Part part;
  LinearWeights weights = view_of(linear);
  weights.gated = gated;
  OCTET_ASSIGN_OR_RETURN(part.weight, ops.pack(weights));
  part.column = group.n;
  if (linear.scheme.static_input()) {
    part.static_scale = linear.input_scale[0];
    OCTET_ASSIGN_OR_RETURN(part.input_scale, ops.allocate(sizeof(float)));
    ops.upload(part.input_scale.data(), &part.static_scale, sizeof(float));
  }
  if (!linear.scheme.input.symmetric) {
    part.static_zero_point = linear.input_zero_point[0];
    OCTET_ASSIGN_OR_RETURN(part.input_zero_point, ops.allocate(sizeof(int32_t)));
    ops.upload(part.input_zero_point.data(), &part.static_zero_point, sizeof(int32_t));
  }
  group.parts.push_back(std::move(part));
  group.n += linear.n;
  group.k = linear.k;
  return {};
}

// gated: of gate_proj and up_proj, which as one matrix are for linear_silu_mul.
Result<LinearGroup> load_group(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                               const std::map<std::string, QuantScheme>& schemes, Ops& ops,
                               bool gated = false) {
  if (packs_values(checkpoint, modules, schemes, ops)) {
    return load_values(checkpoint, modules, schemes.at(modules.front()), gated, ops);
  }
  std::vector<HostLinear> linears;
  for (const auto& module : modules) {
    OCTET_ASSIGN_OR_RETURN(auto linear, read_linear(checkpoint, module, schemes.at(module)));
    linears.push_back(std::move(linear));
  }
  LinearGroup group;
  for (size_t begin = 0, end = 0; begin < modules.size(); begin = end) {
    const auto same = [&](const HostLinear& other) {
      const HostLinear& first = linears[begin];
      return other.scheme == first.scheme && other.input_scale == first.input_scale &&
             other.input_zero_point == first.input_zero_point;
    };
    for (end = begin + 1; end < modules.size() && same(linears[end]);) ++end;
    const auto at = [&](size_t i) {
      return std::make_move_iterator(linears.begin() + static_cast<ptrdiff_t>(i));
    };
    const Status status =
        add_part(stack({at(begin), at(end)}), gated && begin == 0 && end == modules.size(), ops, group);
    if (!status.ok()) return status.with_context(modules[begin]);
  }
  return group;
}

int64_t group_bytes(const LinearGroup& group) {
  int64_t bytes = 0;
  for (const auto& part : group.parts) bytes += static_cast<int64_t>(part.weight->bytes);
  return bytes;
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
  if (tensor->type == code_dtype(type)) {  // from where it lies in the file, without a copy of its size
    OCTET_ASSIGN_OR_RETURN(const Values values, read_values_raw(checkpoint, *tensor));
    const auto bytes =
        static_cast<size_t>(config.vocab_size * int64_t{config.hidden_size}) * qtype_bytes(type);
    OCTET_ASSIGN_OR_RETURN(weights.embedding_data, ops.allocate(bytes));
    ops.upload(weights.embedding_data.data(), values.rows.data, bytes);
    weights.embedding = {weights.embedding_data.data(), tensor->type, config.vocab_size, config.hidden_size,
                         config.hidden_size};
    return {};
  }
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
  return std::all_of(parts.begin(), parts.end(), [&](const Part& part) {
    const Part& first = parts.front();
    return part.weight->scheme.input == first.weight->scheme.input &&
           part.static_scale == first.static_scale && part.static_zero_point == first.static_zero_point;
  });
}

LinearWeights view_of(const HostLinear& linear) {
  const auto data = [](const auto& values) { return values.empty() ? nullptr : values.data(); };
  return {.n = linear.n,
          .k = linear.k,
          .scheme = linear.scheme,
          .data = linear.codes.data(),
          .scale = data(linear.scale),
          .bias = data(linear.bias),
          .input_scale = data(linear.input_scale),
          .input_zero_point = data(linear.input_zero_point)};
}

Result<HostLinear> read_linear(const Checkpoint& checkpoint, const std::string& module,
                               const QuantScheme& scheme) {
  HostLinear linear;
  if (checkpoint.scheme_of(module).weight.quantized()) {
    OCTET_ASSIGN_OR_RETURN(linear, read_stored_linear(checkpoint, module));
  } else {
    OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, weight_name(checkpoint, module)));
    linear.scheme = scheme;
    std::tie(linear.n, linear.k) = linear_shape(checkpoint.config, module);
    linear.codes.resize(static_cast<size_t>(linear.n) * code_bytes(scheme.weight.type, linear.k));
    linear.scale.resize(static_cast<size_t>(scale_count(scheme.weight, linear.n, linear.k)));
    OCTET_RETURN_IF_ERROR(quantize_tensor(checkpoint, *tensor, linear));
    if (checkpoint.format == "random" && scheme.static_input()) {
      linear.input_scale = {kRandomInputMaximum / (scheme.input.type == QType::kInt8 ? kInt8Max : kE4M3Max)};
      if (!scheme.input.symmetric) linear.input_zero_point = {0};
    }
  }
  if (checkpoint.find(module + ".bias") != nullptr) {
    OCTET_ASSIGN_OR_RETURN(linear.bias, read_values(checkpoint, module + ".bias", linear.n));
  }
  return linear;
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
  OCTET_ASSIGN_OR_RETURN(w.gate_up, load_group(checkpoint, gate_up_modules(layer), schemes, ops, true));
  OCTET_ASSIGN_OR_RETURN(w.down, load_group(checkpoint, {p + "mlp.down_proj"}, schemes, ops));
  return w;
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
    bytes += n * static_cast<int64_t>(code_bytes(scheme.weight.type, k));
    bytes += scale_count(scheme.weight, n, k) * static_cast<int64_t>(sizeof(float));
  }
  const int64_t norms = int64_t{2} * config.n_layers + 1;
  return bytes + norms * config.hidden_size * static_cast<int64_t>(sizeof(float));
}

}  // namespace octet
