// The quantization_config of the compressed-tensors format
// (https://github.com/vllm-project/compressed-tensors): groups of modules, chosen by class ("Linear"), by
// name or by regular expression ("re:..."), each with the arguments of its weights and inputs, and a list of
// modules to leave out.
#pragma once

#include "formats/json_fields.h"
#include "formats/quantization_config.h"

namespace octet {

// `fields`: the quantization_config.
Result<QuantizationConfig> parse_compressed_tensors(const JsonFields& fields,
                                                    const std::vector<std::string>& modules);

nlohmann::json make_compressed_tensors(const std::map<std::string, QuantScheme>& modules,
                                       const KvQuant* kv_quant);

}  // namespace octet
