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
constexpr std::array kQuantizationSuffixes = {".weight_scale", ".weight_zero_point", ".input_scale",
                                              ".input_zero_point"};

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
    const auto* tensor = checkpoint_.find(expected.name);
    if (tensor == nullptr) {
      return corrupt(checkpoint_.path + ": tensor " + expected.name + ": expected shape " +
                     shape_text(expected.shape) + ", found no such tensor");
    }
    known_.insert(expected.name);
    if (tensor->shape != expected.shape) {
      return wrong(*tensor, "shape " + shape_text(expected.shape), shape_text(tensor->shape));
    }
    const QuantScheme scheme =
        expected.module.empty() ? QuantScheme{} : checkpoint_.scheme_of(expected.module);
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
    OCTET_RETURN_IF_ERROR(check_parameters(expected, "weight", scheme.weight, expected.shape[0]));
    const bool static_input = scheme.input.quantized() && !scheme.input.dynamic;
    return static_input ? check_parameters(expected, "input", scheme.input, 1) : Status();
  }

  // <module>.<operand>_scale and, where asymmetric, <module>.<operand>_zero_point.
  Status check_parameters(const ExpectedTensor& expected, const std::string& operand, const QuantArgs& args,
                          int64_t channels) {
    const int64_t count = args.scale == QScale::kChannel ? channels : 1;
    const std::string name = expected.module + "." + operand;
    OCTET_RETURN_IF_ERROR(check_parameter(name + "_scale", count, /*zero_point=*/false));
    return args.symmetric ? Status() : check_parameter(name + "_zero_point", count, /*zero_point=*/true);
  }

  Status check_parameter(const std::string& name, int64_t count, bool zero_point) {
    const auto* tensor = checkpoint_.find(name);
    if (tensor == nullptr) {
      return corrupt(checkpoint_.path + ": tensor " + name + ": expected shape [" + std::to_string(count) +
                     ", 1], found no such tensor");
    }
    known_.insert(name);
    const auto& shape = tensor->shape;
    const bool fits = shape == std::vector<int64_t>{count, 1} || shape == std::vector<int64_t>{count} ||
                      (count == 1 && shape.empty());
    if (!fits) return wrong(*tensor, "shape [" + std::to_string(count) + ", 1]", shape_text(shape));
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
