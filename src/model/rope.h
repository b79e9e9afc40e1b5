// Rotary position embedding: the table of cosines and sines for every position.
// Su et al., "RoFormer" (2021); frequency scaling of Llama 3.1 as in its config.json (rope_type "llama3").
#pragma once

#include <vector>

#include "formats/model_config.h"

namespace octet {

// Inverse frequencies [head_dim / 2], scaled as the config says.
std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, int32_t head_dim);

// [max_positions, head_dim]: for each position the cosines of head_dim/2 angles, then their sines.
std::vector<float> rope_table(const RopeConfig& rope, int32_t head_dim, int32_t max_positions);

}  // namespace octet
