#include "formats/quantization_config.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "formats/compressed_tensors.h"
#include "formats/json_fields.h"
#include "formats/quantization_methods.h"

namespace octet {

using nlohmann::json;

Result<QuantizationConfig> parse_quantization_config(const json& config,
                                                     const std::vector<std::string>& modules,
                                                     const std::string& file) {
  const JsonFields top(config, file);
  const char* key =
      top.has("quantization_config") ? "quantization_config" : "compression_config";  // the older name
  const json* quantization = top.find(key);
  if (quantization == nullptr) return QuantizationConfig{};
  JsonFields fields(*quantization, file + ": " + key);
  std::string method;
  fields.require("quant_method", &method);
  OCTET_RETURN_IF_ERROR(fields.status());
  if (method == "compressed-tensors") return parse_compressed_tensors(fields, modules);
  if (method == "fp8") return parse_fp8(fields, modules);
  if (method == "fbgemm_fp8") return parse_fbgemm_fp8(fields, modules);
  if (method == "modelopt") return parse_modelopt(fields, modules);
  if (method == "bitsandbytes") return parse_bitsandbytes(fields, modules);
  return unsupported(
      fields.where() + ": quant_method: \"" + method +
      "\" is not supported; there are compressed-tensors, fp8, fbgemm_fp8, modelopt, bitsandbytes "
      "(8 bit), and checkpoints in 16 bits");
}

Result<json> make_quantization_config(const std::map<std::string, QuantScheme>& modules,
                                      const KvQuant* kv_quant) {
  const bool outliers =
      std::any_of(modules.begin(), modules.end(), [](const auto& m) { return m.second.input.outlier > 0; });
  if (outliers) return make_bitsandbytes(modules, kv_quant);
  return make_compressed_tensors(modules, kv_quant);
}

}  // namespace octet
