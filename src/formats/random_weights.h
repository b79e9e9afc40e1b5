// Weights with the spread of a trained model's, for measurements of speed where no checkpoint is at hand.
// Every value is a function of (seed, tensor name, row, column) alone: drawn on reading, in any order, the
// same each time.
//
//   linear weights and embeddings  near normal with standard deviation 0.02, rows scaled by 0.7 to 1.4
//   norms                          near 1, one channel in about 500 eight times larger: the outlier channels
//   of real models biases                         near normal with standard deviation 0.02
// All are of type bf16.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace octet {

void random_rows(const CheckpointTensor& tensor, uint64_t seed, int64_t begin, int64_t end, float* out);
void random_rows_bf16(const CheckpointTensor& tensor, uint64_t seed, int64_t begin, int64_t end,
                      uint16_t* out);

// The shapes of released models, by name.
std::vector<std::string> known_model_names();
// kNotFound, listing the names, for another.
Result<ModelConfig> known_model(const std::string& name);

}  // namespace octet
