// The other direction of hf_config.h: config.json and generation_config.json as transformers (4 and 5) and
// vLLM read them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace octet {

// The field of config.json that tells how octet quantized a model. Others ignore it.
inline constexpr const char* kRecordField = "octet_quantization";
nlohmann::json record_json(const QuantizationRecord& record);
// None where the field is absent.
Result<std::optional<QuantizationRecord>> parse_record(const nlohmann::json& config, const std::string& file);

// `base` is the source's own config.json where it had one (its other fields are kept), else an empty object.
// kUnsupported for what no Hugging Face class of the family computes: rotation factors of a GGUF file that
// are not those of a llama3 scaling, biases of another family.
Result<nlohmann::json> make_hf_config(const ModelConfig& config, const nlohmann::json& base);

nlohmann::json make_generation_config(const ModelConfig& config, const GenerationDefaults& defaults);

}  // namespace octet
