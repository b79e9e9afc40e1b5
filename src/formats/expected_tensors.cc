#include "formats/expected_tensors.h"

#include <array>
#include <set>

namespace octet {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Status wrong(const CheckpointTensor& tensor, const std::string& expected, const std::string& found) {
  return corrupt(tensor.file + ": tensor " + tensor.name + ": expected " + expected + ", found " + found);
}

bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

// Tensors without which the forward is the same: tables that it computes, and static scales of a KV cache
// that the configuration does not ask for.
constexpr std::array kIgnoredSuffixes = {".rotary_emb.inv_freq",    ".self_attn.k_scale",
                                         ".self_attn.v_scale",      ".self_attn.q_scale",
                                         ".self_attn.k_zero_point", ".self_attn.v_zero_point"};
constexpr std::array kQuantizationSuffixes = {
    ".weight_scale",  ".weight_zero_point", ".input_scale", ".input_zero_point",
    ".weight_packed", ".weight_shape",      ".SCB",         ".weight_format"};

class Checker {
 public:
  explicit Checker(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  Status check() {
    for (const auto& tensor : expected_tensors(checkpoint_.config)) OCTET_RETURN_IF_ERROR(check_one(tensor));
    if (checkpoint_.has_kv_quant && !checkpoint_.kv_quant.dynamic) OCTET_RETURN_IF_ERROR(check_kv_scales());
    for (const auto& [name, tensor] : checkpoint_.tensors) OCTET_RETURN_IF_ERROR(check_known(tensor));
    return {};
  }

 private:
  Status check_one(const ExpectedTensor& expected) {
    const QuantScheme scheme =
        expected.module.empty() ? QuantScheme{} : checkpoint_.scheme_of(expected.module);
    if (scheme.weight.quantized() && checkpoint_.find(expected.module + ".weight_packed") != nullptr) {
      return check_packed(expected, scheme);
    }
    const auto* tensor = checkpoint_.find(expected.name);
    if (tensor == nullptr) {
      return corrupt(checkpoint_.path + ": tensor " + expected.name + ": expected shape " +
                     shape_text(expected.shape) + ", found no such tensor");
    }
    known_.insert(expected.name);
    if (tensor->shape != expected.shape) {
      return wrong(*tensor, "shape " + shape_text(expected.shape), shape_text(tensor->shape));
    }
    if (scheme.weight.quantized()) return check_quantized(*tensor, expected, scheme);
    if (is_float(tensor->type) || (is_block_type(tensor->type) && expected.shape.size() == 2)) return {};
    return wrong(*tensor, "a floating-point type", dtype_name(tensor->type));
  }

  Status check_quantized(const CheckpointTensor& weight, const ExpectedTensor& expected,
                         const QuantScheme& scheme) {
    const DType type = scheme.weight.type == QType::kInt8 ? DType::kI8 : DType::kF8E4M3;
    if (weight.type != type) {
      return wrong(weight, std::string(dtype_name(type)) + " for the scheme " + to_string(scheme),
                   dtype_name(weight.type));
    }
    if (scheme.weight.type == QType::kInt4) {
      return wrong(weight, "weight_packed for the scheme " + to_string(scheme),
                   "a weight that is not packed");
    }
    return check_scales(expected, scheme);
  }

  // Codes of 4 or 8 bits in words of 32, rows filled up to whole words; <module>.weight_shape repeats the
  // shape.
  Status check_packed(const ExpectedTensor& expected, const QuantScheme& scheme) {
    const auto& tensor = *checkpoint_.find(expected.module + ".weight_packed");
    const int64_t a_word = scheme.weight.type == QType::kInt4 ? 8 : 4;
    const std::vector<int64_t> shape = {expected.shape[0], (expected.shape[1] + a_word - 1) / a_word};
    if (tensor.shape != shape) return wrong(tensor, "shape " + shape_text(shape), shape_text(tensor.shape));
    if (tensor.type != DType::kI32 || scheme.weight.type == QType::kFp8) {
      return wrong(tensor, "i32 words of int8 or int4 for the scheme " + to_string(scheme),
                   dtype_name(tensor.type));
    }
    known_.insert(tensor.name);
    known_.insert(expected.module + ".weight_shape");
    return check_scales(expected, scheme);
  }

  Status check_scales(const ExpectedTensor& expected, const QuantScheme& scheme) {
    const int64_t n = expected.shape[0], k = expected.shape[1];
    const std::string& module = expected.module;
    known_.insert(module + ".input_scale_ub");  // fbgemm: repeats what the configuration says
    if (scheme.input.outlier > 0 && checkpoint_.find(module + ".SCB") != nullptr) {
      known_.insert(module + ".weight_format");
      OCTET_RETURN_IF_ERROR(check_parameter(module + ".SCB", {n}, /*zero_point=*/false));
      return check_row_format(module + ".weight_format");
    }
    const int64_t groups = group_count(scheme.weight, k);
    const int64_t channels = scheme.weight.scale == QScale::kTensor ? 1 : n;
    OCTET_RETURN_IF_ERROR(
        check_parameter(module + ".weight_scale", {channels, groups}, /*zero_point=*/false));
    if (!scheme.static_input()) return {};
    OCTET_RETURN_IF_ERROR(check_parameter(module + ".input_scale", {1, 1}, /*zero_point=*/false));
    return scheme.input.symmetric
               ? Status()
               : check_parameter(module + ".input_zero_point", {1, 1}, /*zero_point=*/true);
  }

  // bitsandbytes: 0 for rows one after the other, the only layout that is not of a device.
  Status check_row_format(const std::string& name) {
    const auto* tensor = checkpoint_.find(name);
    if (tensor == nullptr) return {};
    for (const uint8_t byte : tensor->data) {
      if (byte != 0) return wrong(*tensor, "0, a weight stored by rows", std::to_string(byte));
    }
    return {};
  }

  // A vector may lack its dimension of 1, a single value both.
  Status check_parameter(const std::string& name, const std::vector<int64_t>& expected, bool zero_point) {
    const auto* tensor = checkpoint_.find(name);
    if (tensor == nullptr) {
      return corrupt(checkpoint_.path + ": tensor " + name + ": expected shape " + shape_text(expected) +
                     ", found no such tensor");
    }
    known_.insert(name);
    const auto& shape = tensor->shape;
    const bool vector = expected.size() == 1 || expected[1] == 1;
    const bool fits = shape == expected || (vector && shape == std::vector<int64_t>{expected[0]}) ||
                      (vector && expected[0] == 1 && shape.empty());
    if (!fits) return wrong(*tensor, "shape " + shape_text(expected), shape_text(shape));
    const bool type_fits = is_float(tensor->type) ||
                           (zero_point && (tensor->type == DType::kI8 || tensor->type == DType::kF8E4M3 ||
                                           tensor->type == DType::kI32));
    if (type_fits) return {};
    return wrong(*tensor, zero_point ? "a type of zero points" : "f32, f16 or bf16",
                 dtype_name(tensor->type));
  }

  // One scale for all heads of a layer, or one for each.
  Status check_kv_scales() {
    for (int32_t layer = 0; layer < checkpoint_.config.n_layers; ++layer) {
      for (const char* suffix : {"k_scale", "v_scale"}) {
        const std::string name = "model.layers." + std::to_string(layer) + ".self_attn." + suffix;
        const auto* tensor = checkpoint_.find(name);
        if (tensor == nullptr) {
          return corrupt(checkpoint_.path + ": tensor " + name +
                         ": expected a scale of the static KV cache, found no such tensor");
        }
        const int64_t values = tensor->rows() * tensor->cols();
        if (values != 1 && values != checkpoint_.config.n_kv_heads) {
          return wrong(*tensor, "1 value or " + std::to_string(checkpoint_.config.n_kv_heads),
                       shape_text(tensor->shape));
        }
        if (!is_float(tensor->type)) return wrong(*tensor, "f32, f16 or bf16", dtype_name(tensor->type));
      }
    }
    return {};
  }

  Status check_known(const CheckpointTensor& tensor) {
    const auto& name = tensor.name;
    const bool computed = name.rfind("model.layers.", 0) == 0 || name == "lm_head.bias";
    if (!computed || known_.count(name) > 0) return {};
    for (const char* suffix : kIgnoredSuffixes) {
      if (name.ends_with(suffix)) return {};
    }
    std::string why = "belongs to nothing that this architecture computes";
    for (const char* suffix : kQuantizationSuffixes) {
      if (name.ends_with(suffix)) why = "belongs to no module that the quantization_config quantizes";
    }
    return unsupported(tensor.file + ": tensor " + name + ": " + why);
  }

  const Checkpoint& checkpoint_;
  std::set<std::string> known_;
};

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  const int64_t hidden = config.hidden_size;
  const auto linear = [&](const std::string& module, bool bias) {
    const auto [n, k] = linear_shape(config, module);
    tensors.push_back({module + ".weight", {n, k}, module});
    if (bias) tensors.push_back({module + ".bias", {n}, ""});
  };
  tensors.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}, ""});
  for (int32_t i = 0; i < config.n_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    tensors.push_back({layer + "input_layernorm.weight", {hidden}, ""});
    for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
      linear(layer + "self_attn." + projection, config.qkv_bias);
    }
    if (config.qk_norm) {
      tensors.push_back({layer + "self_attn.q_norm.weight", {config.head_dim}, ""});
      tensors.push_back({layer + "self_attn.k_norm.weight", {config.head_dim}, ""});
    }
    linear(layer + "self_attn.o_proj", config.o_bias);
    tensors.push_back({layer + "post_attention_layernorm.weight", {hidden}, ""});
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      linear(layer + "mlp." + projection, config.mlp_bias);
    }
  }
  tensors.push_back({"model.norm.weight", {hidden}, ""});
  if (!config.tied_embeddings) linear("lm_head", false);
  return tensors;
}

Status check_tensors(const Checkpoint& checkpoint) {
  return Checker(checkpoint).check();
}

}  // namespace octet
