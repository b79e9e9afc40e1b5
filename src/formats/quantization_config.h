// How a checkpoint says that it is quantized: the quantization_config of its config.json, in the words of
// whoever wrote it (quant_method): compressed-tensors (compressed_tensors.h), fp8 and fbgemm_fp8, modelopt,
// and bitsandbytes in 8 bits (quantization_methods.h).
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
  bool kv_scales_optional = false;  // static scales of the cache may be missing: then they are dynamic
};

// `config` is the whole config.json; without a quantization_config the result is empty. `modules` are the
// names of all linear modules of the model. Inputs beside weights that alone are quantized are bf16. Errors:
// kUnsupported, naming module and scheme, for a scheme that does not run or another quant_method; kCorrupt
// for fields of the wrong type.
Result<QuantizationConfig> parse_quantization_config(const nlohmann::json& config,
                                                     const std::vector<std::string>& modules,
                                                     const std::string& file);

// The quantization_config that says `modules`' schemes (one that is 16 bit is ignored by name); null where
// nothing is quantized. LLM.int8() is written as bitsandbytes, everything else as compressed-tensors. Errors:
// kUnsupported for LLM.int8() beside other schemes or thresholds, which no format holds in one checkpoint.
Result<nlohmann::json> make_quantization_config(const std::map<std::string, QuantScheme>& modules,
                                                const KvQuant* kv_quant);

}  // namespace octet
