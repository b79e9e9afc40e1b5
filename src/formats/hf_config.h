// Hugging Face's config.json and generation_config.json. Both spellings are read: rope_theta and rope_scaling
// (transformers 4) and rope_parameters (transformers 5), torch_dtype and dtype. Missing fields have the
// defaults of transformers' own configuration classes where a checkpoint may rely on them; sizes have to be
// there.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "formats/model_config.h"

namespace octet {

// `file` is for messages. Errors: kUnsupported (unknown model_type, rope type or activation), kCorrupt (a
// field of the wrong type), kInvalidArgument (sizes that do not fit each other).
Result<ModelConfig> parse_hf_config(const nlohmann::json& config, const std::string& file);

// Adds eos ids to `config`, fills `defaults`. kCorrupt for a value out of its range.
Status parse_generation_config(const nlohmann::json& generation, const std::string& file, ModelConfig* config,
                               GenerationDefaults* defaults);

}  // namespace octet
