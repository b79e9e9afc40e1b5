#include "bench/kernels.h"

#include <algorithm>
#include <chrono>

#include "base/median.h"
#include "bench/fixed_batch.h"
#include "model/llama.h"
#include "model/model_sizes.h"
#include "model/rope.h"

namespace octet {
namespace {

constexpr int32_t kLaunchesAhead = 16;                 // of one recorded step
constexpr int64_t kColdParameters = int64_t{1} << 28;  // of the layers that are loaded: more than caches hold

using Clock = std::chrono::steady_clock;

// One op of layer `layer`.
using Op = std::function<void(const BatchView&, size_t layer)>;

class KernelBench {
 public:
  KernelBench(std::unique_ptr<Ops> ops, const KernelBenchOptions& options)
      : ops_(std::move(ops)), o_(options) {}

  Status load(Checkpoint& checkpoint, ModelOptions model);
  Result<KernelReport> run(KernelReport report);

 private:
  Status fill_activations();
  // produce(QView) writes the group's input.
  Status measure_linear(const std::string& name, const QuantSlot& slot, const View& d,
                        const std::function<const LinearGroup&(size_t)>& group,
                        const std::function<void(const QView&)>& produce);
  Status measure_products();
  Status measure_rows(int64_t m);
  Status measure_rope(int32_t n);
  Status measure_decode(int32_t n, int32_t context);
  Status measure_prefill(int32_t tokens);
  Status measure_sampling(int32_t n);

  // `n` sequences that each add `queries` tokens up to a context of `context`, in pages of their own as far
  // as there are so many.
  ForwardBatch batch_of(int32_t n, int32_t queries, int32_t context) const;
  // Microseconds of one run of `op`.
  Result<double> time(const ForwardBatch& batch, const Op& op);
  void add(KernelRow row, double flop_s = 0) {
    if (row.us > 0)
      row.share = 1e6 * seconds_at(report_.ceilings.rates, flop_s, row.bytes, row.flop) / row.us;
    report_.rows.push_back(std::move(row));
  }
  const LayerWeights& layer(size_t i) const { return weights_.layers[i % weights_.layers.size()]; }
  const KvLayer& kv(size_t i) const { return cache_.views[i % cache_.views.size()]; }
  double activation_bytes(int64_t rows, int64_t cols) const {
    return static_cast<double>(dtype_bytes(sizes_.activations.type, static_cast<size_t>(rows * cols)));
  }
  void multiply(const LinearGroup& group, const QuantSlot& slot, int32_t m, const View& d);
  // Of a group's input in the form it wants, and of one token's keys and values in one layer.
  static double input_bytes(const LinearGroup& group, int64_t rows) {
    return static_cast<double>(rows) *
           static_cast<double>(code_bytes(group.parts.front().weight->scheme.input.type, group.k));
  }
  double kv_token_bytes() const {
    return static_cast<double>(ops_->kv_page_bytes(sizes_.attention, sizes_.kv, sizes_.page_size)) /
           sizes_.page_size;
  }

  std::unique_ptr<Ops> ops_;  // first: everything below is its memory
  KernelBenchOptions o_;
  KernelReport report_;
  ModelConfig config_;
  ModelSizes sizes_;
  ModelWeights weights_;
  Activations act_;
  KvCache cache_;
  Buffer rope_table_;
  RopeSpec rope_;
};

int32_t most(const std::vector<int32_t>& values) {
  return values.empty() ? 1 : *std::ranges::max_element(values);
}

Status KernelBench::load(Checkpoint& checkpoint, ModelOptions model) {
  int32_t& layers = checkpoint.config.n_layers;
  layers = static_cast<int32_t>(
      std::clamp<int64_t>(kColdParameters * layers / checkpoint.config.n_parameters(), 1, layers));
  config_ = checkpoint.config;
  model.max_context = std::max(most(o_.contexts), most(o_.prompts));
  model.max_step_tokens = std::max({most(o_.tokens), most(o_.prompts), most(o_.batches)});
  model.max_batch = std::max(most(o_.batches), (model.max_step_tokens - 1) / model.max_context + 1);
  OCTET_ASSIGN_OR_RETURN(sizes_, model_sizes(checkpoint, *ops_, model));
  OCTET_RETURN_IF_ERROR(check_memory(sizes_.plan, ops_->info().memory_available));
  OCTET_RETURN_IF_ERROR(ops_->reserve(sizes_.limits));
  OCTET_ASSIGN_OR_RETURN(weights_, load_weights(checkpoint, sizes_.schemes, *ops_));
  const auto table = rope_table(config_.rope, config_.head_dim, sizes_.max_context);
  OCTET_ASSIGN_OR_RETURN(rope_table_, ops_->allocate(table.size() * sizeof(float)));
  ops_->upload(rope_table_.data(), table.data(), table.size() * sizeof(float));
  rope_.cos_sin = rope_table_.as<float>();
  rope_.norm_eps = config_.norm_eps;
  OCTET_ASSIGN_OR_RETURN(act_, Activations::create(*ops_, sizes_.activations));
  std::vector<KvScales> scales;
  for (int32_t i = 0; !sizes_.kv.dynamic && i < config_.n_layers; ++i) {
    OCTET_ASSIGN_OR_RETURN(auto read, read_kv_scales(checkpoint, i));
    scales.push_back(std::move(read));
  }
  OCTET_ASSIGN_OR_RETURN(cache_, KvCache::create(*ops_, sizes_.attention, sizes_.kv, sizes_.page_size,
                                                 sizes_.plan.kv_pages, config_.n_layers, scales));
  return fill_activations();
}

// What a model would compute: tensor cores draw more power, and run slower, on numbers than on zeros.
Status KernelBench::fill_activations() {
  const auto tokens = static_cast<int32_t>(sizes_.activations.tokens);
  const int32_t length = std::min(tokens, sizes_.max_context);
  const LlamaContext context{*ops_, config_, weights_, act_, cache_, sizes_.attention, rope_};
  const ForwardBatch host_batch = batch_of(tokens / length, length, length);
  const BatchView batch = ops_->stage(host_batch);
  ops_->embed(batch, weights_.embedding, act_.x.head(batch.n_tokens));
  llama_layer(context, layer(0), kv(0), batch);
  return ops_->synchronize();
}

ForwardBatch KernelBench::batch_of(int32_t n, int32_t queries, int32_t context) const {
  return fixed_batch({.sequences = n,
                      .queries = queries,
                      .context = context,
                      .page_size = sizes_.page_size,
                      .n_pages = cache_.n_pages,
                      .vocab_size = config_.vocab_size});
}

Result<double> KernelBench::time(const ForwardBatch& batch, const Op& op) {
  OCTET_RETURN_IF_ERROR(ops_->reserve(sizes_.limits));  // forgets what was recorded for batches of this size
  const BatchView view = ops_->stage(batch);
  const int32_t ahead = ops_->info().runs_ahead ? kLaunchesAhead : config_.n_layers;
  const auto step = [&](const BatchView& v) {
    for (int32_t i = 0; i < ahead; ++i) op(v, static_cast<size_t>(i));
  };
  const auto seconds = [&](int32_t runs) -> Result<double> {
    OCTET_RETURN_IF_ERROR(ops_->synchronize());
    const auto start = Clock::now();
    for (int32_t i = 0; i < runs; ++i) ops_->run(view, step);
    OCTET_RETURN_IF_ERROR(ops_->synchronize());
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  OCTET_RETURN_IF_ERROR(seconds(2).status());  // kernels are loaded, the step is recorded
  OCTET_ASSIGN_OR_RETURN(const double once, seconds(1));
  const auto runs = static_cast<int32_t>(std::clamp(o_.seconds / std::max(once, 1e-7), 1.0, 1e5));
  std::vector<double> all;
  for (int32_t repeat = 0; repeat < o_.repeats; ++repeat) {
    OCTET_ASSIGN_OR_RETURN(const double s, seconds(runs));
    all.push_back(s * 1e6 / runs / ahead);
  }
  return median(std::move(all));
}

// As the model does: gate_up as one matrix ends in silu_mul.
void KernelBench::multiply(const LinearGroup& group, const QuantSlot& slot, int32_t m, const View& d) {
  if (d.data == act_.gate_up.data && group.parts.size() == 1) {
    const auto& part = group.parts.front();
    return ops_->linear_silu_mul(input_of(part, slot, m), *part.weight, d.head(m),
                                 input_of(layer(0).down.parts.front(), act_.activated, m));
  }
  for (const auto& part : group.parts)
    ops_->linear(input_of(part, slot, m), *part.weight, columns(d.head(m), part.column, part.weight->n));
}

Status KernelBench::measure_linear(const std::string& name, const QuantSlot& slot, const View& d,
                                   const std::function<const LinearGroup&(size_t)>& group,
                                   const std::function<void(const QView&)>& produce) {
  const LinearGroup& first = group(0);
  const QType type = first.parts.front().weight->scheme.input.type;
  const double rate = product_rate(report_.ceilings.rates, type);
  double weight_bytes = 0;
  for (const auto& part : first.parts) weight_bytes += static_cast<double>(part.weight->bytes);
  produce(input_of(first.parts.front(), slot, d.rows));
  for (const int32_t m : o_.tokens) {
    if (m > d.rows) continue;  // the head sees a row a sequence
    OCTET_ASSIGN_OR_RETURN(const double us, time(batch_of(1, 1, 1), [&](const BatchView&, size_t i) {
                             multiply(group(i), slot, m, d);
                           }));
    KernelRow row{.op = "linear " + name,
                  .shape = std::to_string(first.n) + "x" + std::to_string(first.k),
                  .rows = m,
                  .us = us,
                  .bytes = weight_bytes + input_bytes(first, m) +
                           static_cast<double>(dtype_bytes(d.type, static_cast<size_t>(m * first.n))),
                  .flop = 2.0 * m * static_cast<double>(first.n * first.k)};
    const LibraryFigure library = library_product(report_.device, type, m, first.n, first.k);
    row.library_us = library.us;
    row.library = library.name;
    add(std::move(row), rate);
  }
  return {};
}

Status KernelBench::measure_products() {
  const auto norm = [&](const Buffer& gamma) {
    return [&](const QView& out) {
      ops_->norm(act_.x.head(out.rows), gamma.as<float>(), config_.norm_eps, out);
    };
  };
  using Group = const LinearGroup&;
  OCTET_RETURN_IF_ERROR(measure_linear(
      "qkv", act_.normed, act_.qkv, [&](size_t i) -> Group { return layer(i).qkv; },
      norm(layer(0).attention_norm)));
  OCTET_RETURN_IF_ERROR(measure_linear(
      "o", act_.attended, act_.product, [&](size_t i) -> Group { return layer(i).o; },
      [&](const QView& out) { ops_->quantize(act_.q.head(out.rows), out); }));
  OCTET_RETURN_IF_ERROR(measure_linear(
      "gate_up", act_.normed, act_.gate_up, [&](size_t i) -> Group { return layer(i).gate_up; },
      norm(layer(0).mlp_norm)));
  OCTET_RETURN_IF_ERROR(measure_linear(
      "down", act_.activated, act_.product, [&](size_t i) -> Group { return layer(i).down; },
      [&](const QView& out) { ops_->silu_mul(act_.gate_up.head(out.rows), out); }));
  OCTET_RETURN_IF_ERROR(measure_linear(
      "head", act_.normed, act_.logits, [&](size_t) -> Group { return weights_.head; },
      norm(weights_.final_norm)));
  for (const auto& part : weights_.head.parts)  // logits of every row, to sample from
    ops_->linear(input_of(part, act_.normed, act_.logits.rows), *part.weight,
                 columns(act_.logits, part.column, part.weight->n));
  return ops_->synchronize();
}

Status KernelBench::measure_rows(int64_t m) {
  const View x = act_.x.head(m), gate_up = act_.gate_up.head(m);
  OCTET_ASSIGN_OR_RETURN(const double norm, time(batch_of(1, 1, 1), [&](const BatchView&, size_t i) {
                           const LayerWeights& w = layer(i);
                           ops_->norm(x, w.mlp_norm.as<float>(), config_.norm_eps,
                                      input_of(w.gate_up.parts.front(), act_.normed, m));
                         }));
  add({.op = "norm",
       .shape = std::to_string(x.cols),
       .rows = m,
       .us = norm,
       .bytes = activation_bytes(m, x.cols) + input_bytes(layer(0).gate_up, m)});
  if (ops_->info().fuses_silu_mul) return {};
  OCTET_ASSIGN_OR_RETURN(const double silu, time(batch_of(1, 1, 1), [&](const BatchView&, size_t i) {
                           ops_->silu_mul(gate_up, input_of(layer(i).down.parts.front(), act_.activated, m));
                         }));
  add({.op = "silu_mul",
       .shape = std::to_string(config_.intermediate_size),
       .rows = m,
       .us = silu,
       .bytes = activation_bytes(m, gate_up.cols) + input_bytes(layer(0).down, m)});
  return {};
}

// A token of each of `n` sequences, or a prompt where there are more.
Status KernelBench::measure_rope(int32_t n) {
  const bool decodes = n <= sizes_.limits.max_seqs;
  const int32_t length = std::min(n, sizes_.max_context);
  const ForwardBatch batch = decodes ? batch_of(n, 1, 1) : batch_of(n / length, length, length);
  const int32_t m = batch.n_tokens();
  OCTET_ASSIGN_OR_RETURN(const double us, time(batch, [&](const BatchView& view, size_t i) {
                           RopeSpec rope = rope_;
                           rope.q_norm = layer(i).q_norm.as<float>();
                           rope.k_norm = layer(i).k_norm.as<float>();
                           ops_->rope_write_kv(act_.qkv.head(view.n_tokens), view, sizes_.attention, rope,
                                               kv(i), act_.q.head(view.n_tokens));
                         }));
  add({.op = "rope_write_kv",
       .shape = std::to_string(act_.qkv.cols),
       .rows = m,
       .us = us,
       .bytes = activation_bytes(m, act_.qkv.cols + act_.q.cols) + m * kv_token_bytes()});
  return {};
}

Status KernelBench::measure_decode(int32_t n, int32_t context) {
  OCTET_ASSIGN_OR_RETURN(const double us, time(batch_of(n, 1, context), [&](const BatchView& view, size_t i) {
                           ops_->attention(act_.q.head(view.n_tokens), view, sizes_.attention, kv(i),
                                           input_of(layer(i).o.parts.front(), act_.attended, view.n_tokens));
                         }));
  const AttentionSpec& a = sizes_.attention;
  const int64_t seen = a.window > 0 ? std::min(a.window, context) : context;
  add({.op = "attention decode",
       .shape = "context " + std::to_string(context),
       .rows = n,
       .us = us,
       .bytes = static_cast<double>(n * seen) * kv_token_bytes() + activation_bytes(n, act_.q.cols) +
                input_bytes(layer(0).o, n),
       .flop = 4.0 * static_cast<double>(n * seen) * a.n_heads * a.head_dim});
  return {};
}

Status KernelBench::measure_prefill(int32_t tokens) {
  OCTET_ASSIGN_OR_RETURN(const double us,
                         time(batch_of(1, tokens, tokens), [&](const BatchView& view, size_t i) {
                           ops_->attention(act_.q.head(tokens), view, sizes_.attention, kv(i),
                                           input_of(layer(i).o.parts.front(), act_.attended, tokens));
                         }));
  const AttentionSpec& a = sizes_.attention;
  const double window = a.window > 0 ? std::min(a.window, tokens) : tokens;
  const double pairs = window * (window + 1) / 2 + (tokens - window) * window;
  add({.op = "attention prefill",
       .shape = "one prompt",
       .rows = tokens,
       .us = us,
       .bytes = tokens * kv_token_bytes() + activation_bytes(tokens, act_.q.cols) +
                input_bytes(layer(0).o, tokens),
       .flop = 4.0 * pairs * a.n_heads * a.head_dim},
      report_.ceilings.rates.half_flop_s);
  return {};
}

Status KernelBench::measure_sampling(int32_t n) {
  std::vector<SampledToken> out(static_cast<size_t>(n));
  for (const bool greedy : {true, false}) {
    SamplingBatch sampling;
    sampling.rows.assign(static_cast<size_t>(n), SamplingRow{});
    for (SamplingRow& row : sampling.rows) {
      row.temperature = greedy ? 0 : 1;
      row.top_k = greedy ? 0 : 50;
      row.top_p = greedy ? 1 : 0.9f;
    }
    const View logits = act_.logits.head(n);
    const double bytes = 4.0 * static_cast<double>(n) * config_.vocab_size;
    const int32_t calls = 16;
    std::vector<double> all;
    for (int32_t repeat = -1; repeat < o_.repeats; ++repeat) {  // the first one warms up
      OCTET_RETURN_IF_ERROR(ops_->synchronize());
      const auto start = Clock::now();
      for (int32_t i = 0; i < calls; ++i) ops_->sample(logits, sampling, out.data());
      OCTET_RETURN_IF_ERROR(ops_->synchronize());
      if (repeat >= 0)
        all.push_back(std::chrono::duration<double>(Clock::now() - start).count() * 1e6 / calls);
    }
    add({.op = greedy ? "sample greedy" : "sample top-k 50, top-p 0.9",
         .shape = std::to_string(logits.cols),
         .rows = n,
         .us = median(std::move(all)),
         .bytes = bytes});
  }
  return {};
}

Result<KernelReport> KernelBench::run(KernelReport report) {
  report_ = std::move(report);
  report_.kv_dtype = to_string(sizes_.kv);
  report_.device = ops_->info().device;
  OCTET_RETURN_IF_ERROR(measure_products());
  for (const int32_t m : o_.tokens) OCTET_RETURN_IF_ERROR(measure_rows(m));
  for (const int32_t m : o_.tokens) OCTET_RETURN_IF_ERROR(measure_rope(m));
  for (const int32_t context : o_.contexts)
    for (const int32_t n : o_.batches) OCTET_RETURN_IF_ERROR(measure_decode(n, context));
  for (const int32_t tokens : o_.prompts) OCTET_RETURN_IF_ERROR(measure_prefill(tokens));
  for (const int32_t n : o_.batches) OCTET_RETURN_IF_ERROR(measure_sampling(n));
  return report_;
}

}  // namespace

Result<KernelReport> bench_kernels(std::shared_ptr<Checkpoint> checkpoint, std::unique_ptr<Ops> ops,
                                   ModelOptions model, const KernelBenchOptions& options) {
  const auto positive = [](const std::vector<int32_t>& v) {
    return std::ranges::all_of(v, [](int32_t x) { return x > 0; });
  };
  if (!positive(options.tokens) || !positive(options.batches) || !positive(options.contexts) ||
      !positive(options.prompts) || options.repeats < 1)
    return invalid_argument("--tokens, --batches, --contexts, --prompts and --repeats must be at least 1");
  if (!(options.seconds > 0)) return invalid_argument("--seconds must be more than 0");
  if (const int32_t own = checkpoint->config.max_context;
      std::max(most(options.contexts), most(options.prompts)) > own)
    return invalid_argument("--contexts and --prompts: the model was made for " + std::to_string(own) +
                            " tokens at most");
  KernelReport report;
  report.model = checkpoint->config.name;
  report.scheme = model.scheme.empty() ? "stored" : model.scheme;
  OCTET_ASSIGN_OR_RETURN(report.ceilings, measure_ceilings(*ops));
  KernelBench bench(std::move(ops), options);
  OCTET_RETURN_IF_ERROR(bench.load(*checkpoint, std::move(model)));
  return bench.run(std::move(report));
}

}  // namespace octet
