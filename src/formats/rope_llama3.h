// Llama 3.1's rope scaling as GGUF stores it: one factor for each pair of dimensions (rope_freqs.weight) in
// place of the four parameters that config.json has.
#pragma once

#include <vector>

#include "formats/model_config.h"

namespace octet {

// The factors [head_dim / 2] that divide the rotation frequencies, from the parameters of `rope` (kLlama3).
std::vector<float> llama3_rope_factors(const RopeConfig& rope, int32_t head_dim);

// Puts the parameters in place of rope->gguf_factors where those of a released Llama model give the same
// factors; leaves `rope` as it is otherwise.
void recover_llama3_parameters(RopeConfig* rope, int32_t head_dim);

}  // namespace octet
