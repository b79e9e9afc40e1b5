#include "quantize/calibrate.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "base/progress.h"
#include "quantize/layer_runner.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

constexpr int64_t kTrialRows = 512;
constexpr int64_t kObservedRows = 4096;  // tokens that a static scale is chosen on
constexpr int64_t kHeldBackShare = 8;    // one of so many sequences checks it
constexpr const char* kInputNames[] = {"qkv", "o", "gate_up", "down", "head"};

std::string layer_prefix(int32_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

int thread_count(int wanted) {
  return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

class Calibrator {
 public:
  Calibrator(const Checkpoint& checkpoint, Ops& ops, const std::map<std::string, QuantScheme>& schemes,
             const CalibrationOptions& options)
      : checkpoint_(checkpoint),
        ops_(ops),
        schemes_(schemes),
        options_(options),
        pool_(thread_count(options.n_threads)) {}

  Result<Calibration> run(const std::vector<std::vector<int32_t>>& sequences) {
    OCTET_ASSIGN_OR_RETURN(const auto runner, LayerRunner::create(checkpoint_, ops_, sequences));
    const int32_t n_layers = checkpoint_.config.n_layers;
    trial_rows_ = std::min<int64_t>(kTrialRows, runner->sequence_length());
    result_.tokens = runner->n_tokens();
    const auto held_back = std::max<int64_t>(1, static_cast<int64_t>(sequences.size()) / kHeldBackShare);
    seen_ = runner->n_tokens() - held_back * runner->sequence_length();
    Progress progress("calibrating", "layers", n_layers);
    for (int32_t layer = 0; layer < n_layers; ++layer) {
      OCTET_ASSIGN_OR_RETURN(const LayerInputs inputs, runner->next_layer());
      if (options_.kv.quantized()) result_.kv_scales.push_back(kv_scales(inputs));
      // Backwards: what divides the rows of v_proj and up_proj is known before they are rounded.
      for (int kind = kLayerInputs - 1; kind >= 0; --kind) {
        OCTET_RETURN_IF_ERROR(calibrate_input(layer, static_cast<InputKind>(kind), inputs.inputs[kind]));
      }
      std::reverse(result_.inputs.end() - kLayerInputs, result_.inputs.end());
      progress.advance();
    }
    if (schemes_.at("lm_head").weight.quantized()) {
      OCTET_ASSIGN_OR_RETURN(const ObservedRows rows, runner->head_input());
      OCTET_RETURN_IF_ERROR(calibrate_input(n_layers, InputKind::kHead, rows));
    }
    result_.schemes = schemes_;
    result_.weights = options_.weights;
    result_.kv_quant = options_.kv;
    return std::move(result_);
  }

 private:
  // For the largest key and value seen, of a head or of all. The FP8 grid is as fine twice as far out: unseen
  // tokens get that much room for nothing.
  KvScales kv_scales(const LayerInputs& inputs) const {
    const auto scales = [&](std::vector<float> most) {
      if (!options_.kv.per_head) most.assign(1, *std::max_element(most.begin(), most.end()));
      const float room = options_.kv.type == QType::kFp8 ? 2.0f : 1.0f;
      for (float& value : most) value = weight_scale(value * room, options_.kv.type);
      return most;
    };
    return {scales(inputs.k_absmax), scales(inputs.v_absmax)};
  }

  Status calibrate_input(int32_t layer, InputKind kind, const ObservedRows& observed) {
    InputReport report;
    report.layer = layer;
    report.name = kInputNames[static_cast<size_t>(kind)];
    report.absmax = report.absmax_smoothed = observed.absmax(observed.rows);
    OCTET_ASSIGN_OR_RETURN(Consumers consumers, consumers_of(layer, kind));
    const bool any_quantized =
        std::any_of(consumers.schemes.begin(), consumers.schemes.end(),
                    [](const QuantScheme& scheme) { return scheme.weight.quantized(); });
    if (any_quantized) {
      OCTET_RETURN_IF_ERROR(smooth(layer, kind, consumers, observed, &report));
      OCTET_RETURN_IF_ERROR(fix_input_scale(layer, kind, consumers, observed, &report));
      if (!report.fallback.empty()) {  // dynamic scales are smoothed otherwise
        for (size_t i = 0; i < consumers.modules.size(); ++i)
          consumers.schemes[i] = schemes_.at(consumers.modules[i]);
        unfold(layer, kind, consumers);
        report.absmax_smoothed = report.absmax;
        OCTET_RETURN_IF_ERROR(smooth(layer, kind, consumers, observed, &report));
      }
    }
    if (any_quantized && options_.weights != WeightRounding::kAbsmax) {
      OCTET_RETURN_IF_ERROR(round_weights(consumers, observed, report.smoothing.s));
    }
    result_.inputs.push_back(std::move(report));
    return {};
  }

  Result<Consumers> consumers_of(int32_t layer, InputKind kind) const {
    Consumers consumers;
    for (const auto& module : modules_of_input(layer, kind)) {
      OCTET_ASSIGN_OR_RETURN(auto weight, scaled_weight(checkpoint_, module, {}));
      consumers.k = linear_shape(checkpoint_.config, module).second;
      consumers.modules.push_back(module);
      consumers.schemes.push_back(schemes_.at(module));
      consumers.weights.push_back(std::move(weight));
    }
    return consumers;
  }

  Status smooth(int32_t layer, InputKind kind, const Consumers& consumers, const ObservedRows& observed,
                InputReport* report) {
    OCTET_ASSIGN_OR_RETURN(const SmoothConstraint constraint, constraint_of(layer, kind));
    const std::vector<ChannelSizes> sizes = {{"max", observed.absmax(seen_)},
                                             {"mean4", observed.power_mean(seen_, 4)},
                                             {"mean2", observed.power_mean(seen_, 2)}};
    const TrialRows x = pick_rows(observed, 0, seen_, trial_rows_);
    OCTET_ASSIGN_OR_RETURN(report->smoothing,
                           choose_smoothing(ops_, options_.smooth, sizes, x, consumers, constraint));
    if (report->smoothing.s.empty()) return {};
    return fold(layer, kind, consumers, constraint, report);
  }

  // Held-back data is little: an input that was unsafe in most layers is not trusted where it happens to
  // pass.
  bool rarely_safe(InputKind kind) const {
    constexpr int32_t kEnoughLayers = 4;
    const auto i = static_cast<size_t>(kind);
    return static_inputs_[i] >= kEnoughLayers && 2 * fallbacks_[i] > static_inputs_[i];
  }

  // One scale for all that read the input statically; where it does not do well on what it has not seen, they
  // all become dynamic.
  Status fix_input_scale(int32_t layer, InputKind kind, const Consumers& consumers,
                         const ObservedRows& observed, InputReport* report) {
    const std::vector<float>& s = report->smoothing.s;
    const TrialRows held_back = pick_rows(observed, seen_, observed.rows, trial_rows_);
    std::optional<TrialRows> seen;
    ValueRange range;
    for (size_t i = 0; i < consumers.modules.size(); ++i) {
      const QuantScheme& scheme = schemes_.at(consumers.modules[i]);
      if (!scheme.static_input()) continue;
      if (!seen) {
        seen = pick_rows(observed, 0, seen_, kObservedRows);
        for (size_t at = 0; at < seen->values.size() && !s.empty(); ++at)
          seen->values[at] /= s[at % s.size()];
        const auto extremes = observed.extremes(seen_);
        for (size_t c = 0; c < extremes.low.size(); ++c) {
          range.low = std::min(range.low, extremes.low[c] / (s.empty() ? 1.0f : s[c]));
          range.high = std::max(range.high, extremes.high[c] / (s.empty() ? 1.0f : s[c]));
        }
      }
      const StaticScale chosen = choose_static_scale(*seen, range, scheme.input, options_.observer);
      ModuleRecipe& recipe = result_.recipe.modules[consumers.modules[i]];
      OCTET_ASSIGN_OR_RETURN(const auto weight, scaled_weight(checkpoint_, consumers.modules[i], recipe));
      HostLinear linear = quantize_weight(weight, consumers.k, scheme);
      linear.input_scale = recipe.input_scale = {chosen.scale};
      if (!scheme.input.symmetric) linear.input_zero_point = recipe.input_zero_point = {chosen.zero_point};
      OCTET_ASSIGN_OR_RETURN(const auto check,
                             check_static_scale(ops_, held_back, s, linear, unscaled(weight, s)));
      if (report->fallback.empty()) report->fallback = why_unsafe(check);
      if (report->fallback.empty() && rarely_safe(kind))
        report->fallback = "in most layers before, it was not safe";
      if (!report->check || check.worst_token > report->check->worst_token) report->check = check;
    }
    if (options_.keep_static) report->fallback.clear();
    if (report->check) ++static_inputs_[static_cast<size_t>(kind)];
    if (report->fallback.empty()) return {};
    ++fallbacks_[static_cast<size_t>(kind)];
    if (options_.strict_static) {
      return invalid_argument(input_name(layer, kind) + " cannot be static: " + report->fallback +
                              " on held-back data; leave out --strict-static, or --exclude it");
    }
    for (const auto& module : consumers.modules) {
      QuantScheme& scheme = schemes_.at(module);
      if (!scheme.static_input()) continue;
      scheme = dynamic_instead(scheme);
      result_.recipe.modules[module].input_scale.clear();
      result_.recipe.modules[module].input_zero_point.clear();
    }
    return {};
  }

  // weight [n, k] without the columns' scale: what the unscaled input is multiplied with.
  static std::vector<float> unscaled(std::vector<float> weight, const std::vector<float>& s) {
    for (size_t i = 0; i < weight.size() && !s.empty(); ++i) weight[i] /= s[i % s.size()];
    return weight;
  }

  // Chooses the codes of all quantized weights that read the input.
  Status round_weights(const Consumers& consumers, const ObservedRows& observed,
                       const std::vector<float>& s) {
    OCTET_ASSIGN_OR_RETURN(const auto hessian, gram(ops_, observed, seen_, s));
    const int64_t k = consumers.k;
    std::vector<float> diagonal(static_cast<size_t>(k));
    for (int64_t c = 0; c < k; ++c)
      diagonal[static_cast<size_t>(c)] = hessian[static_cast<size_t>(c * k + c)];
    std::optional<Compensation> compensation;
    if (options_.weights == WeightRounding::kGptq) compensation = make_compensation(hessian, k, pool_);
    for (const auto& module : consumers.modules) {
      const QuantScheme& scheme = schemes_.at(module);
      if (!scheme.weight.quantized()) continue;
      ModuleRecipe& recipe = result_.recipe.modules[module];
      OCTET_ASSIGN_OR_RETURN(const auto weight, scaled_weight(checkpoint_, module, recipe));
      recipe.rounded =
          round_weight(weight, k, scheme, diagonal, compensation ? &*compensation : nullptr, pool_);
    }
    return {};
  }

  std::string norm_of(int32_t layer, InputKind kind) const {
    if (kind == InputKind::kHead) return "model.norm.weight";
    if (kind == InputKind::kQkv) return layer_prefix(layer) + "input_layernorm.weight";
    if (kind == InputKind::kGateUp) return layer_prefix(layer) + "post_attention_layernorm.weight";
    return "";
  }

  Result<SmoothConstraint> constraint_of(int32_t layer, InputKind kind) const {
    SmoothConstraint constraint;
    const ModelConfig& config = checkpoint_.config;
    if (kind == InputKind::kO) {
      const int32_t shared_by = config.n_heads / config.n_kv_heads;
      constraint.sources = int64_t{config.n_kv_heads} * config.head_dim;
      for (int32_t head = 0; head < config.n_heads; ++head) {
        for (int32_t d = 0; d < config.head_dim; ++d) {
          constraint.source.push_back(head / shared_by * config.head_dim + d);
        }
      }
    } else if (kind != InputKind::kDown) {
      OCTET_ASSIGN_OR_RETURN(constraint.gamma, read_tensor(checkpoint_, norm_of(layer, kind)));
      constraint.gamma_type = plain_type(checkpoint_, schemes_);
    }
    return constraint;
  }

  // What makes the input where that is no norm: it takes the division into its rows.
  static std::string maker_of(int32_t layer, InputKind kind) {
    return layer_prefix(layer) + (kind == InputKind::kO ? "self_attn.v_proj" : "mlp.up_proj");
  }

  void unfold(int32_t layer, InputKind kind, const Consumers& consumers) {
    for (const auto& module : consumers.modules) result_.recipe.modules[module].column_scale.clear();
    if (const std::string norm = norm_of(layer, kind); !norm.empty()) {
      result_.recipe.vectors.erase(norm);
      return;
    }
    result_.recipe.modules[maker_of(layer, kind)].row_divisor.clear();
    result_.recipe.vectors.erase(maker_of(layer, kind) + ".bias");
  }

  // The division by s goes into what produces the input, the multiplication into what reads it.
  Status fold(int32_t layer, InputKind kind, const Consumers& consumers, const SmoothConstraint& constraint,
              InputReport* report) {
    const std::vector<float>& s = report->smoothing.s;
    for (const auto& module : consumers.modules) result_.recipe.modules[module].column_scale = s;
    for (size_t c = 0; c < s.size(); ++c) report->absmax_smoothed[c] /= s[c];
    if (!constraint.gamma.empty()) {
      std::vector<float> gamma = constraint.gamma;
      const bool f16 = constraint.gamma_type == QType::kF16;
      for (size_t c = 0; c < s.size(); ++c) {
        if (s[c] == 1.0f) continue;
        const float divided = gamma[c] / s[c];
        gamma[c] = f16 ? f16_to_f32(f32_to_f16(divided)) : bf16_to_f32(f32_to_bf16(divided));
      }
      result_.recipe.vectors[norm_of(layer, kind)] = std::move(gamma);
      return {};
    }
    std::vector<float> divisor = s;
    if (kind == InputKind::kO) {
      divisor.resize(static_cast<size_t>(constraint.sources));
      for (size_t c = 0; c < s.size(); ++c) divisor[static_cast<size_t>(constraint.source[c])] = s[c];
    }
    const std::string maker = maker_of(layer, kind);
    if (checkpoint_.find(maker + ".bias") != nullptr) {
      OCTET_ASSIGN_OR_RETURN(auto bias, read_tensor(checkpoint_, maker + ".bias"));
      for (size_t row = 0; row < bias.size(); ++row) bias[row] /= divisor[row];
      result_.recipe.vectors[maker + ".bias"] = std::move(bias);
    }
    result_.recipe.modules[maker].row_divisor = std::move(divisor);
    return {};
  }

  const Checkpoint& checkpoint_;
  Ops& ops_;
  std::map<std::string, QuantScheme> schemes_;  // static ones may become dynamic on the way
  const CalibrationOptions& options_;
  ThreadPool pool_;
  int32_t static_inputs_[kLayerInputs + 1] = {}, fallbacks_[kLayerInputs + 1] = {};  // by InputKind, so far
  Calibration result_;
  int64_t trial_rows_ = 0, seen_ = 0;  // tokens [0, seen_) choose, the rest checks
};

}  // namespace

Result<Calibration> calibrate(const Checkpoint& checkpoint, Ops& ops,
                              const std::map<std::string, QuantScheme>& schemes,
                              const std::vector<std::vector<int32_t>>& sequences,
                              const CalibrationOptions& options) {
  return Calibrator(checkpoint, ops, schemes, options).run(sequences);
}

}  // namespace octet
