#include "quantize/quantize.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "formats/file_output.h"
#include "formats/writer.h"
#include "model/weights.h"
#include "quantize/calibration_report.h"
#include "quantize/recipe.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

// A module's codes and scales come from one pass over its weight but are written as two tensors: the last
// module read is kept until the next one is asked for.
class ModuleReader {
 public:
  ModuleReader(const Checkpoint& checkpoint, const Recipe& recipe)
      : checkpoint_(checkpoint), recipe_(recipe) {}

  Result<const HostLinear*> read(const std::string& module, const QuantScheme& scheme) {
    if (module != module_) {
      OCTET_ASSIGN_OR_RETURN(linear_, make_linear(checkpoint_, module, scheme, recipe_));
      module_ = module;
    }
    return &std::as_const(linear_);
  }

 private:
  const Checkpoint& checkpoint_;
  const Recipe& recipe_;
  std::string module_;
  HostLinear linear_;
};

// Builds the list of tensors of the checkpoint to be written.
class TensorList {
 public:
  TensorList(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes,
             const Recipe& recipe)
      : checkpoint_(checkpoint),
        schemes_(schemes),
        recipe_(recipe),
        reader_(std::make_shared<ModuleReader>(checkpoint, recipe)) {}

  Status build() {
    const ModelConfig& config = checkpoint_.config;
    OCTET_RETURN_IF_ERROR(add_plain("model.embed_tokens.weight", plain()));
    for (int32_t layer = 0; layer < config.n_layers; ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".";
      OCTET_RETURN_IF_ERROR(add_vector(p + "input_layernorm.weight"));
      for (const char* module : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
        OCTET_RETURN_IF_ERROR(add_linear(p + "self_attn." + module));
      }
      if (config.qk_norm) {
        OCTET_RETURN_IF_ERROR(add_vector(p + "self_attn.q_norm.weight"));
        OCTET_RETURN_IF_ERROR(add_vector(p + "self_attn.k_norm.weight"));
      }
      OCTET_RETURN_IF_ERROR(add_vector(p + "post_attention_layernorm.weight"));
      for (const char* module : {"gate_proj", "up_proj", "down_proj"}) {
        OCTET_RETURN_IF_ERROR(add_linear(p + "mlp." + module));
      }
    }
    OCTET_RETURN_IF_ERROR(add_vector("model.norm.weight"));
    // A tied head that stays 16 bit is the embedding; a quantized one becomes a matrix of its own.
    if (!config.tied_embeddings || schemes_.at("lm_head").weight.quantized()) return add_linear("lm_head");
    return {};
  }

  void add_kv_scales(const std::vector<KvScales>& layers) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".self_attn.";
      for (const auto& [name, scales] :
           {std::pair{p + "k_scale", layers[layer].k}, {p + "v_scale", layers[layer].v}}) {
        add_values(name, DType::kBF16, {static_cast<int64_t>(scales.size())}, scales);
      }
    }
  }

  std::vector<TensorToWrite> tensors;
  int64_t bytes = 0;

 private:
  DType plain() const { return code_dtype(plain_type(checkpoint_, schemes_)); }

  void add(TensorToWrite tensor) {
    int64_t values = 1;
    for (const int64_t d : tensor.shape) values *= d;
    bytes += static_cast<int64_t>(dtype_bytes(tensor.type, static_cast<size_t>(values)));
    tensors.push_back(std::move(tensor));
  }

  Status add_plain(const std::string& name, DType type) {
    const CheckpointTensor* source = checkpoint_.find(name);
    if (source == nullptr) return corrupt(checkpoint_.path + ": tensor '" + name + "' is missing");
    const QType qtype = type == DType::kF32 ? QType::kF32 : type == DType::kF16 ? QType::kF16 : QType::kBF16;
    add({name, type, source->shape, [this, source, qtype](std::span<uint8_t> out) -> Status {
           std::vector<float> values(static_cast<size_t>(source->rows() * source->cols()));
           OCTET_RETURN_IF_ERROR(checkpoint_.read_rows_f32(*source, 0, source->rows(), values.data()));
           const QuantArgs args{qtype, QScale::kNone, false, true};
           quantize_rows(values.data(), source->rows(), source->cols(), args, out.data(), nullptr);
           return {};
         }});
    return {};
  }

  // Norms and biases: 16 bit where that loses nothing, else as the float32 they are, so that the written
  // checkpoint gives the logits of the original.
  Status add_vector(const std::string& name) {
    const CheckpointTensor* source = checkpoint_.find(name);
    if (source == nullptr) return corrupt(checkpoint_.path + ": tensor '" + name + "' is missing");
    const auto changed = recipe_.vectors.find(name);
    std::vector<float> values;
    if (changed != recipe_.vectors.end()) {
      values = changed->second;
    } else {
      OCTET_ASSIGN_OR_RETURN(values, read_tensor(checkpoint_, name));
    }
    bool exact = true;
    for (const float v : values) {
      const float back = plain() == DType::kF16 ? f16_to_f32(f32_to_f16(v)) : bf16_to_f32(f32_to_bf16(v));
      exact = exact && back == v;
    }
    add_values(name, exact ? plain() : DType::kF32, source->shape, std::move(values));
    return {};
  }

  void add_values(const std::string& name, DType type, std::vector<int64_t> shape,
                  std::vector<float> values) {
    add({name, type, std::move(shape), [type, values = std::move(values)](std::span<uint8_t> out) -> Status {
           const QType qtype = type == DType::kF32   ? QType::kF32
                               : type == DType::kF16 ? QType::kF16
                                                     : QType::kBF16;
           quantize_rows(values.data(), static_cast<int64_t>(values.size()), 1,
                         {qtype, QScale::kNone, false, true}, out.data(), nullptr);
           return {};
         }});
  }

  Status add_linear(const std::string& module) {
    const QuantScheme& scheme = schemes_.at(module);
    const auto [n, k] = linear_shape(checkpoint_.config, module);
    const auto read = [reader = reader_, module, scheme] { return reader->read(module, scheme); };
    for (auto& tensor : linear_tensors(module, scheme, n, k, read)) add(std::move(tensor));
    if (checkpoint_.find(module + ".bias") != nullptr) return add_vector(module + ".bias");
    return {};
  }

  const Checkpoint& checkpoint_;
  const std::map<std::string, QuantScheme>& schemes_;
  const Recipe& recipe_;
  std::shared_ptr<ModuleReader> reader_;
};

// The scheme, and those of the overrides.
std::vector<std::string> scheme_words(const QuantizeOptions& options) {
  std::vector<std::string> words = {options.scheme};
  for (const auto& text : options.overrides) words.push_back(text.substr(text.rfind('=') + 1));
  return words;
}

QuantizationRecord record_of(const QuantizeOptions& options, const Calibration* calibration) {
  QuantizationRecord record{options.scheme, rounding_name(WeightRounding::kAbsmax)};
  if (calibration == nullptr) return record;
  record.weights = rounding_name(calibration->weights);
  for (const InputReport& input : calibration->inputs) {
    record.smoothed = record.smoothed || !input.smoothing.s.empty();
    record.dynamic_instead += input.fallback.empty() ? 0 : 1;
  }
  return record;
}

}  // namespace

bool needs_calibration(const QuantizeOptions& options) {
  const auto words = scheme_words(options);
  return std::any_of(words.begin(), words.end(), scheme_is_calibrated);
}

CalibrationOptions usual_calibration(const QuantizeOptions& options) {
  CalibrationOptions usual;
  usual.smooth.mode = SmoothOptions::kNone;
  for (const auto& scheme : scheme_words(options)) {
    if (scheme == "int8" || scheme.starts_with("int8-static")) usual.smooth.mode = SmoothOptions::kSearch;
  }
  if (options.scheme.starts_with("w4a16")) usual.weights = WeightRounding::kGptq;
  return usual;
}

Result<std::map<std::string, QuantScheme>> quantized_schemes(const Checkpoint& checkpoint,
                                                             const QuantizeOptions& options,
                                                             bool calibrated) {
  return assign_schemes(checkpoint, {.scheme = options.scheme,
                                     .exclude = options.exclude,
                                     .overrides = options.overrides,
                                     .quantize_head = options.quantize_head,
                                     .calibrated = calibrated});
}

Status check_output_folder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_empty(folder, error)) {
    return invalid_argument(folder + ": exists and is not empty; give another folder to -o");
  }
  return {};
}

Result<QuantizeReport> quantize_checkpoint(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                           const std::string& folder, const Calibration* calibration) {
  namespace fs = std::filesystem;
  const auto start = std::chrono::steady_clock::now();
  OCTET_ASSIGN_OR_RETURN(auto schemes, quantized_schemes(checkpoint, options, calibration != nullptr));
  if (calibration != nullptr) schemes = calibration->schemes;
  OCTET_RETURN_IF_ERROR(check_output_folder(folder));
  std::error_code error;
  const Recipe none;
  TensorList list(checkpoint, schemes, calibration != nullptr ? calibration->recipe : none);
  OCTET_RETURN_IF_ERROR(list.build());
  if (calibration != nullptr) list.add_kv_scales(calibration->kv_scales);

  // Everything is made in a folder beside the final one, which appears whole or not at all.
  const std::string partial = fs::path(folder).lexically_normal().string() + ".partial";
  fs::remove_all(partial, error);
  if (!fs::create_directories(partial, error)) {
    return invalid_argument(partial + ": cannot create the folder: " + error.message());
  }
  const auto fail = [&](const Status& status) {
    fs::remove_all(partial, error);
    return status;
  };
  const KvQuant* kv =
      calibration != nullptr && calibration->kv_quant.quantized() ? &calibration->kv_quant : nullptr;
  Progress progress("quantizing to " + options.scheme, "MiB", list.bytes >> 20);
  int64_t written = 0;
  const auto on_bytes = [&](size_t n) {
    const int64_t before = written >> 20;
    written += static_cast<int64_t>(n);
    progress.advance((written >> 20) - before);
  };
  if (auto s = write_safetensors(partial, list.tensors, options.shard_bytes, on_bytes); !s.ok())
    return fail(s);
  const QuantizationRecord record = record_of(options, calibration);
  if (auto s = write_model_files(partial, checkpoint, schemes, kv, &record); !s.ok()) return fail(s);
  if (calibration != nullptr && calibration->tokens > 0) {
    const std::string text = calibration_json(*calibration).dump(1) + "\n";
    if (auto s = write_text_file(partial + "/calibration.json", text); !s.ok()) return fail(s);
  }
  fs::remove(folder, error);
  fs::rename(partial, folder, error);
  if (error)
    return fail(invalid_argument(folder + ": cannot rename the finished folder: " + error.message()));
  progress.finish();

  QuantizeReport report;
  for (const auto& [module, scheme] : schemes) {
    ++(scheme.weight.quantized() ? report.quantized_modules : report.plain_modules);
  }
  report.bytes_written = list.bytes;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace octet
