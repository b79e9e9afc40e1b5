// The same model with outlier channels: chosen channels of every norm before a linear layer are made louder,
// and the columns that read them quieter by as much. By a power of two, so that the 16-bit function is
// unchanged to the last bit: what a scheme loses on such a model beyond the original, it loses to outliers.
#pragma once

#include "quantize/recipe.h"

namespace octet {

struct PlantOptions {
  int32_t strength = 16;  // a power of two
  int32_t channels = 3;   // of every norm
  uint64_t seed = 3;
};

// Errors: kInvalidArgument for a strength that is no power of two from 2 to 4096, or more channels than there
// are.
Result<Recipe> plant_outliers(const Checkpoint& checkpoint, const PlantOptions& options);

}  // namespace octet
