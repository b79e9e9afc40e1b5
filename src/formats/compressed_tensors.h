// The quantization_config of the compressed-tensors format
// (https://github.com/vllm-project/compressed-tensors): groups of modules, chosen by class ("Linear"), by
// name or by regular expression ("re:..."), each with the arguments of its weights and inputs, and a list of
// modules to leave out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "tensor/quant_scheme.h"

namespace octet {

struct QuantizationConfig {
  std::map<std::string, QuantScheme> schemes;  // of the modules that are quantized
  std::optional<KvQuant> kv_quant;
};

// `config` is the whole config.json; without a quantization_config the result is empty. `modules` are the
// names of all linear modules of the model. Errors: kUnsupported, naming module and scheme, for a scheme that
// QuantScheme cannot express or another quant_method; kCorrupt for fields of the wrong type.
Result<QuantizationConfig> parse_quantization_config(const nlohmann::json& config,
                                                     const std::vector<std::string>& modules,
                                                     const std::string& file);

// The quantization_config that says `schemes` of `modules` (a module with a 16-bit scheme is ignored by
// name); null where nothing is quantized.
nlohmann::json make_quantization_config(const std::map<std::string, QuantScheme>& modules,
                                        const KvQuant* kv_quant);

}  // namespace octet
