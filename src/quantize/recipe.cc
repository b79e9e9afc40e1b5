#include "quantize/recipe.h"

#include <algorithm>
#include <cmath>

#include "tensor/quantize_rows.h"

namespace octet {
namespace {

// A tied head that is quantized starts from the embedding.
std::string weight_tensor(const Checkpoint& checkpoint, const std::string& module) {
  const std::string name = module + ".weight";
  if (module == "lm_head" && checkpoint.find(name) == nullptr) return "model.embed_tokens.weight";
  return name;
}

}  // namespace

Result<std::vector<float>> read_tensor(const Checkpoint& checkpoint, const std::string& tensor) {
  const CheckpointTensor* source = checkpoint.find(tensor);
  return read_values(checkpoint, tensor, source != nullptr ? source->rows() * source->cols() : 0);
}

Result<std::vector<float>> scaled_weight(const Checkpoint& checkpoint, const std::string& module,
                                         const ModuleRecipe& recipe) {
  OCTET_ASSIGN_OR_RETURN(auto weight, read_tensor(checkpoint, weight_tensor(checkpoint, module)));
  const auto [n, k] = linear_shape(checkpoint.config, module);
  for (size_t row = 0, i = 0; row < static_cast<size_t>(n); ++row) {
    const float divisor = recipe.row_divisor.empty() ? 1.0f : recipe.row_divisor[row];
    for (size_t c = 0; c < static_cast<size_t>(k); ++c, ++i) {
      weight[i] = weight[i] / divisor * (recipe.column_scale.empty() ? 1.0f : recipe.column_scale[c]);
    }
  }
  return weight;
}

HostLinear quantize_weight(const std::vector<float>& weight, int64_t k, const QuantScheme& scheme) {
  HostLinear linear;
  linear.n = static_cast<int64_t>(weight.size()) / k;
  linear.k = k;
  linear.scheme = scheme;
  linear.codes.resize(static_cast<size_t>(linear.n) * code_bytes(scheme.weight.type, k));
  linear.scale.resize(static_cast<size_t>(scale_count(scheme.weight, linear.n, k)));
  if (scheme.weight.quantized() && scheme.weight.scale == QScale::kTensor) {
    float largest = 0;
    for (const float w : weight) largest = std::max(largest, std::fabs(w));
    linear.scale[0] = weight_scale(largest, scheme.weight.type);
  }
  quantize_rows(weight.data(), linear.n, k, scheme.weight, linear.codes.data(),
                linear.scale.empty() ? nullptr : linear.scale.data());
  return linear;
}

Result<HostLinear> make_linear(const Checkpoint& checkpoint, const std::string& module,
                               const QuantScheme& scheme, const Recipe& recipe) {
  const auto found = recipe.modules.find(module);
  if (found == recipe.modules.end()) return read_linear(checkpoint, module, scheme);
  HostLinear linear;
  if (found->second.rounded) {
    linear = *found->second.rounded;
  } else {
    OCTET_ASSIGN_OR_RETURN(const auto weight, scaled_weight(checkpoint, module, found->second));
    linear = quantize_weight(weight, linear_shape(checkpoint.config, module).second, scheme);
  }
  linear.input_scale = found->second.input_scale;
  linear.input_zero_point = found->second.input_zero_point;
  const std::string bias = module + ".bias";
  if (const auto changed = recipe.vectors.find(bias); changed != recipe.vectors.end()) {
    linear.bias = changed->second;
  } else if (checkpoint.find(bias) != nullptr) {
    OCTET_ASSIGN_OR_RETURN(linear.bias, read_tensor(checkpoint, bias));
  }
  return linear;
}

}  // namespace octet
