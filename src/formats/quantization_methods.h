// The quantization_config of formats that have one scheme for all their modules:
//
//   fp8           AutoFP8 and others: E4M3 weights per tensor; inputs per tensor static, or dynamic per token
//   fbgemm_fp8    E4M3 weights per channel, inputs dynamic per token with an upper bound
//   modelopt      E4M3 as fp8 (FP8) or per channel and token (FP8_PER_CHANNEL_PER_TOKEN), with an FP8 cache
//   bitsandbytes  LLM.int8(): int8 weights per channel, a threshold for outliers of the inputs
#pragma once

#include "formats/json_fields.h"
#include "formats/quantization_config.h"

namespace octet {

Result<QuantizationConfig> parse_fp8(const JsonFields& fields, const std::vector<std::string>& modules);
Result<QuantizationConfig> parse_fbgemm_fp8(const JsonFields& fields,
                                            const std::vector<std::string>& modules);
Result<QuantizationConfig> parse_modelopt(const JsonFields& fields, const std::vector<std::string>& modules);
Result<QuantizationConfig> parse_bitsandbytes(const JsonFields& fields,
                                              const std::vector<std::string>& modules);

Result<nlohmann::json> make_bitsandbytes(const std::map<std::string, QuantScheme>& modules,
                                         const KvQuant* kv_quant);

}  // namespace octet
