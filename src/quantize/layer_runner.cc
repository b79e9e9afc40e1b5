#include "quantize/layer_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/row_codec.h"
#include "model/rope.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

std::string layer_prefix(int32_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

float to_f32(QType type, uint16_t bits) {
  return type == QType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

// What a layer's linear layers read, appended row by row.
class InputRecorder : public OpsObserver {
 public:
  InputRecorder(Ops& ops, LayerInputs* inputs) : ops_(ops), inputs_(inputs) {}

  void watch(const LinearGroup& group, InputKind kind) {
    watched_[group.parts.front().weight.get()] = kind;  // all parts read the same
  }

  void on_linear(const QView& a, const PackedLinear& w) override {
    const auto it = watched_.find(&w);
    if (it == watched_.end()) return;
    ObservedRows& rows = inputs_->inputs[static_cast<size_t>(it->second)];
    rows.type = a.args.type;
    rows.cols = a.cols;
    const auto cols = static_cast<size_t>(a.cols);
    rows.values.resize(static_cast<size_t>(rows.rows + a.rows) * cols);
    uint16_t* to = rows.values.data() + static_cast<size_t>(rows.rows) * cols;
    OCTET_CHECK(a.stride == a.cols);
    ops_.download(to, a.data, static_cast<size_t>(a.rows) * cols * sizeof(uint16_t));
    rows.rows += a.rows;
  }

  void on_keys_values(const View& qkv, const AttentionSpec& spec, const RopeSpec& rope) override {
    const auto heads = static_cast<size_t>(spec.n_kv_heads), d = static_cast<size_t>(spec.head_dim);
    inputs_->k_absmax.resize(heads);
    inputs_->v_absmax.resize(heads);
    std::vector<float> norm(d, 1.0f), row(static_cast<size_t>(qkv.cols));
    if (rope.k_norm != nullptr) ops_.download(norm.data(), rope.k_norm, d * sizeof(float));
    std::vector<uint8_t> stored(dtype_bytes(qkv.type, row.size()));
    for (int64_t r = 0; r < qkv.rows; ++r) {
      const auto* data = static_cast<const uint8_t*>(qkv.data);
      ops_.download(stored.data(), data + dtype_bytes(qkv.type, static_cast<size_t>(r * qkv.stride)),
                    stored.size());
      values_to_f32(qkv.type, stored.data(), qkv.cols, row.data());
      const float* k = row.data() + static_cast<size_t>(spec.n_heads) * d;
      for (size_t h = 0; h < heads; ++h, k += d) add_key(k, norm, rope, &inputs_->k_absmax[h]);
      for (size_t h = 0; h < heads; ++h, k += d) {
        for (size_t i = 0; i < d; ++i) inputs_->v_absmax[h] = std::max(inputs_->v_absmax[h], std::fabs(k[i]));
      }
    }
  }

 private:
  static void add_key(const float* k, const std::vector<float>& norm, const RopeSpec& rope, float* most) {
    const size_t d = norm.size(), half = d / 2;
    float inverse = 1;
    if (rope.k_norm != nullptr) {
      double squares = 0;
      for (size_t i = 0; i < d; ++i) squares += static_cast<double>(k[i]) * k[i];
      inverse = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(d) + rope.norm_eps));
    }
    for (size_t i = 0; i < half; ++i) {
      *most = std::max(*most, inverse * std::hypot(k[i] * norm[i], k[i + half] * norm[i + half]));
    }
  }

  Ops& ops_;
  LayerInputs* inputs_;
  std::map<const PackedLinear*, InputKind> watched_;
};

// kCorrupt, naming the input, where a value is infinite or none: in both 16-bit types these have every bit of
// the exponent set.
Status check_finite(const ObservedRows& rows, const std::string& name) {
  const uint16_t exponent = rows.type == QType::kF16 ? 0x7c00 : 0x7f80;
  for (size_t i = 0; i < rows.values.size(); ++i) {
    if ((rows.values[i] & exponent) != exponent) continue;
    const auto cols = static_cast<size_t>(rows.cols);
    return corrupt(name + ": calibration gave " + std::to_string(to_f32(rows.type, rows.values[i])) +
                   " at token " + std::to_string(i / cols) + ", channel " + std::to_string(i % cols) +
                   "; the weights before it are damaged or too large for 16 bits");
  }
  return {};
}

}  // namespace

std::vector<std::string> modules_of_input(int32_t layer, InputKind kind) {
  switch (kind) {
    case InputKind::kQkv:
      return qkv_modules(layer);
    case InputKind::kO:
      return {layer_prefix(layer) + "self_attn.o_proj"};
    case InputKind::kGateUp:
      return gate_up_modules(layer);
    case InputKind::kDown:
      return {layer_prefix(layer) + "mlp.down_proj"};
    case InputKind::kHead:
      break;
  }
  return {"lm_head"};
}

std::string input_name(int32_t layer, InputKind kind) {
  return modules_of_input(layer, kind).front() + " input";
}

void ObservedRows::read(int64_t row, float* out) const {
  const uint16_t* from = values.data() + static_cast<size_t>(row * cols);
  for (int64_t c = 0; c < cols; ++c) out[c] = to_f32(type, from[c]);
}

ObservedRows::Extremes ObservedRows::extremes(int64_t end) const {
  Extremes all{std::vector<float>(static_cast<size_t>(cols)), std::vector<float>(static_cast<size_t>(cols))};
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < end; ++r) {
    read(r, row.data());
    for (size_t c = 0; c < row.size(); ++c) {
      all.low[c] = std::min(all.low[c], row[c]);
      all.high[c] = std::max(all.high[c], row[c]);
    }
  }
  return all;
}

std::vector<float> ObservedRows::absmax(int64_t end) const {
  const Extremes all = extremes(end);
  std::vector<float> most(all.low.size());
  for (size_t c = 0; c < most.size(); ++c) most[c] = std::max(-all.low[c], all.high[c]);
  return most;
}

std::vector<float> ObservedRows::power_mean(int64_t end, int p) const {
  std::vector<double> sum(static_cast<size_t>(cols));
  std::vector<float> row(sum.size()), mean(sum.size());
  for (int64_t r = 0; r < end; ++r) {
    read(r, row.data());
    for (size_t c = 0; c < row.size(); ++c) {
      double power = 1;
      for (int i = 0; i < p; ++i) power *= std::fabs(static_cast<double>(row[c]));
      sum[c] += power;
    }
  }
  for (size_t c = 0; c < mean.size(); ++c) {
    mean[c] = static_cast<float>(std::pow(sum[c] / static_cast<double>(end), 1.0 / p));
  }
  return mean;
}

Result<std::unique_ptr<LayerRunner>> LayerRunner::create(const Checkpoint& checkpoint, Ops& ops,
                                                         const std::vector<std::vector<int32_t>>& sequences) {
  OCTET_CHECK(!sequences.empty() && !sequences.front().empty());
  auto runner = std::unique_ptr<LayerRunner>(new LayerRunner(checkpoint, ops));
  runner->length_ = static_cast<int32_t>(sequences.front().size());
  runner->n_tokens_ = static_cast<int64_t>(sequences.size()) * runner->length_;
  ModelOptions options;
  options.max_batch = 1;
  options.max_step_tokens = options.max_context = runner->length_;
  OCTET_ASSIGN_OR_RETURN(runner->sizes_, model_sizes(checkpoint, ops, options));
  ModelSizes& sizes = runner->sizes_;
  OCTET_RETURN_IF_ERROR(ops.reserve(sizes.limits));
  const auto table = rope_table(checkpoint.config.rope, checkpoint.config.head_dim, sizes.max_context);
  OCTET_ASSIGN_OR_RETURN(runner->rope_table_, ops.allocate(table.size() * sizeof(float)));
  ops.upload(runner->rope_table_.data(), table.data(), table.size() * sizeof(float));
  OCTET_ASSIGN_OR_RETURN(runner->activations_, Activations::create(ops, sizes.activations));
  OCTET_ASSIGN_OR_RETURN(runner->cache_, KvCache::create(ops, sizes.attention, sizes.kv, sizes.page_size,
                                                         sizes.plan.kv_pages, 1, {}));
  ForwardBatch& batch = runner->batch_;
  for (int32_t t = 0; t < runner->length_; ++t) {
    batch.positions.push_back(t);
    batch.slots.push_back(t);
  }
  batch.token_ids.resize(batch.positions.size());
  batch.query_start = {0, runner->length_};
  batch.context_lens = {runner->length_};
  batch.page_table_stride = sizes.plan.kv_pages;
  for (int32_t page = 0; page < sizes.plan.kv_pages; ++page) batch.page_table.push_back(page);
  OCTET_RETURN_IF_ERROR(runner->embed(sequences));
  return runner;
}

Status LayerRunner::embed(const std::vector<std::vector<int32_t>>& sequences) {
  const auto hidden = static_cast<size_t>(checkpoint_.config.hidden_size);
  const CheckpointTensor* table = checkpoint_.find("model.embed_tokens.weight");
  if (table == nullptr) return corrupt(checkpoint_.path + ": tensor 'model.embed_tokens.weight' is missing");
  const bool f16 = plain_type(checkpoint_, sizes_.schemes) == QType::kF16;
  hidden_.resize(static_cast<size_t>(n_tokens_) * hidden);
  float* row = hidden_.data();
  for (const auto& ids : sequences) {
    OCTET_CHECK(static_cast<int32_t>(ids.size()) == length_);
    for (const int32_t id : ids) {
      OCTET_RETURN_IF_ERROR(checkpoint_.read_rows_f32(*table, id, id + 1, row));
      for (size_t c = 0; c < hidden; ++c, ++row) {  // as the model's own table holds it
        *row = f16 ? f16_to_f32(f32_to_f16(*row)) : bf16_to_f32(f32_to_bf16(*row));
      }
    }
  }
  return {};
}

Status LayerRunner::run(const LayerWeights& weights, LayerInputs* inputs) {
  InputRecorder recorder(ops_, inputs);
  recorder.watch(weights.qkv, InputKind::kQkv);
  recorder.watch(weights.o, InputKind::kO);
  recorder.watch(weights.gate_up, InputKind::kGateUp);
  recorder.watch(weights.down, InputKind::kDown);
  ops_.set_observer(&recorder);

  RopeSpec rope;
  rope.cos_sin = rope_table_.as<float>();
  rope.norm_eps = checkpoint_.config.norm_eps;
  const ModelWeights none;
  const LlamaContext context{ops_, checkpoint_.config, none, activations_, cache_, sizes_.attention, rope};
  OCTET_CHECK(activations_.x.type == DType::kF32)
      << "calibration on a backend whose residual stream is 16 bit";
  const size_t values = static_cast<size_t>(length_ * checkpoint_.config.hidden_size);
  for (int64_t first = 0; first < n_tokens_; first += length_) {
    float* hidden = hidden_.data() + static_cast<size_t>(first * checkpoint_.config.hidden_size);
    const BatchView batch = ops_.stage(batch_);
    ops_.upload(activations_.x.data, hidden, values * sizeof(float));
    llama_layer(context, weights, cache_.views.front(), batch);
    ops_.download(hidden, activations_.x.data, values * sizeof(float));
  }
  ops_.set_observer(nullptr);
  return {};
}

Result<LayerInputs> LayerRunner::next_layer() {
  OCTET_CHECK(next_ < checkpoint_.config.n_layers);
  OCTET_ASSIGN_OR_RETURN(const LayerWeights weights, load_layer(checkpoint_, next_, sizes_.schemes, ops_));
  LayerInputs inputs;
  OCTET_RETURN_IF_ERROR(run(weights, &inputs));
  for (int i = 0; i < kLayerInputs; ++i) {
    OCTET_RETURN_IF_ERROR(check_finite(inputs.inputs[i], input_name(next_, static_cast<InputKind>(i))));
  }
  ++next_;
  return inputs;
}

Result<ObservedRows> LayerRunner::head_input() {
  OCTET_CHECK(next_ == checkpoint_.config.n_layers);
  const int64_t hidden = checkpoint_.config.hidden_size;
  const CheckpointTensor* tensor = checkpoint_.find("model.norm.weight");
  if (tensor == nullptr) return corrupt(checkpoint_.path + ": tensor 'model.norm.weight' is missing");
  std::vector<float> gamma(static_cast<size_t>(hidden));
  OCTET_RETURN_IF_ERROR(checkpoint_.read_rows_f32(*tensor, 0, tensor->rows(), gamma.data()));
  OCTET_ASSIGN_OR_RETURN(const Buffer weight, ops_.allocate(gamma.size() * sizeof(float)));
  ops_.upload(weight.data(), gamma.data(), gamma.size() * sizeof(float));
  ObservedRows rows;
  rows.type = plain_type(checkpoint_, sizes_.schemes);
  rows.rows = n_tokens_;
  rows.cols = hidden;
  rows.values.resize(hidden_.size());
  const size_t values = static_cast<size_t>(length_ * hidden);
  for (size_t first = 0; first < hidden_.size(); first += values) {
    const View x = activations_.x.head(length_);
    ops_.upload(x.data, hidden_.data() + first, values * sizeof(float));
    const QView out = activations_.normed.view({rows.type, QScale::kNone, false, true}, length_);
    ops_.norm(x, weight.as<float>(), checkpoint_.config.norm_eps, out);
    ops_.download(rows.values.data() + first, out.data, values * sizeof(uint16_t));
  }
  OCTET_RETURN_IF_ERROR(check_finite(rows, "lm_head input"));
  return rows;
}

}  // namespace octet
