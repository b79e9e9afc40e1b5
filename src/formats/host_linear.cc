#include "formats/host_linear.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tensor/quant_codec.h"

namespace octet {
namespace {

Result<const CheckpointTensor*> need(const Checkpoint& checkpoint, const std::string& name) {
  if (const auto* tensor = checkpoint.find(name)) return tensor;
  return corrupt(checkpoint.path + ": tensor '" + name + "' is missing");
}

Result<std::vector<float>> read_scales(const Checkpoint& checkpoint, const std::string& name, int64_t n) {
  OCTET_ASSIGN_OR_RETURN(auto scales, read_values(checkpoint, name, n));
  for (size_t i = 0; i < scales.size(); ++i) {
    if (std::isfinite(scales[i]) && scales[i] >= 0) continue;
    return corrupt(checkpoint.path + ": tensor '" + name + "': scale " + std::to_string(i) + " is " +
                   std::to_string(scales[i]) + "; expected a finite number of at least 0");
  }
  return scales;
}

Status read_static_input(const Checkpoint& checkpoint, const std::string& module, HostLinear& linear) {
  OCTET_ASSIGN_OR_RETURN(linear.input_scale, read_scales(checkpoint, module + ".input_scale", 1));
  if (linear.input_scale[0] == 0) {
    return corrupt(checkpoint.path + ": tensor '" + module +
                   ".input_scale' is 0; expected a positive number");
  }
  if (linear.scheme.input.symmetric) return {};
  const std::string name = module + ".input_zero_point";
  OCTET_ASSIGN_OR_RETURN(const auto zero, read_values(checkpoint, name, 1));
  if (!(zero[0] >= -128 && zero[0] <= 127 && zero[0] == std::nearbyint(zero[0]))) {
    return corrupt(checkpoint.path + ": tensor '" + name + "' is " + std::to_string(zero[0]) +
                   "; expected an integer from -128 to 127");
  }
  linear.input_zero_point = {static_cast<int32_t>(zero[0])};
  return {};
}

// Codes of 4 or 8 bits in words of 32, the first in the lowest bits, each plus half of its range. On a
// machine of this byte order that is what int4 codes are here; int8 codes differ in their top bit.
Status unpack(const Checkpoint& checkpoint, const CheckpointTensor& packed, HostLinear& linear) {
  const size_t stored = static_cast<size_t>(packed.cols()) * sizeof(int32_t);
  const size_t row_bytes = code_bytes(linear.scheme.weight.type, linear.k);
  std::vector<uint8_t> row(stored);
  for (int64_t j = 0; j < linear.n; ++j) {
    OCTET_RETURN_IF_ERROR(checkpoint.read_rows_raw(packed, j, j + 1, row.data()));
    std::copy_n(row.begin(), row_bytes, linear.codes.begin() + j * static_cast<int64_t>(row_bytes));
  }
  if (linear.scheme.weight.type == QType::kInt8) {
    for (uint8_t& code : linear.codes) code ^= 0x80;
  }
  return {};
}

}  // namespace

Result<std::vector<float>> read_values(const Checkpoint& checkpoint, const std::string& name, int64_t n) {
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

Result<HostLinear> read_stored_linear(const Checkpoint& checkpoint, const std::string& module) {
  HostLinear linear;
  linear.scheme = checkpoint.scheme_of(module);
  std::tie(linear.n, linear.k) = linear_shape(checkpoint.config, module);
  const QuantArgs& weight = linear.scheme.weight;
  linear.codes.resize(static_cast<size_t>(linear.n) * code_bytes(weight.type, linear.k));
  if (const auto* packed = checkpoint.find(module + ".weight_packed")) {
    OCTET_RETURN_IF_ERROR(unpack(checkpoint, *packed, linear));
  } else {
    OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, module + ".weight"));
    OCTET_RETURN_IF_ERROR(checkpoint.read_rows_raw(*tensor, 0, linear.n, linear.codes.data()));
  }
  const bool absmax =
      checkpoint.find(module + ".SCB") != nullptr;  // bitsandbytes: of the largest value, not of a code
  OCTET_ASSIGN_OR_RETURN(linear.scale, read_scales(checkpoint, module + (absmax ? ".SCB" : ".weight_scale"),
                                                   scale_count(weight, linear.n, linear.k)));
  for (float& scale : linear.scale) scale = absmax ? scale / kInt8Max : scale;
  if (linear.scheme.static_input()) OCTET_RETURN_IF_ERROR(read_static_input(checkpoint, module, linear));
  return linear;
}

Result<KvScales> read_kv_scales(const Checkpoint& checkpoint, int32_t layer) {
  const auto n_heads = static_cast<size_t>(checkpoint.config.n_kv_heads);
  const auto read = [&](const char* suffix) -> Result<std::vector<float>> {
    const std::string name = "model.layers." + std::to_string(layer) + ".self_attn." + suffix;
    OCTET_ASSIGN_OR_RETURN(const auto* tensor, need(checkpoint, name));
    const int64_t values = tensor->rows() * tensor->cols();
    OCTET_ASSIGN_OR_RETURN(auto scales,
                           read_scales(checkpoint, name, values == 1 ? 1 : checkpoint.config.n_kv_heads));
    for (const float scale : scales) {
      if (scale == 0) return corrupt(checkpoint.path + ": tensor '" + name + "' holds a scale of 0");
    }
    if (scales.size() == 1) scales.resize(n_heads, scales[0]);
    return scales;
  };
  KvScales scales;
  OCTET_ASSIGN_OR_RETURN(scales.k, read("k_scale"));
  OCTET_ASSIGN_OR_RETURN(scales.v, read("v_scale"));
  return scales;
}

}  // namespace octet
