// What calibration decided: everything that a quantized checkpoint is written from, beside the original
// weights.
//
// Smoothing (Xiao et al., "SmoothQuant", 2023) divides a linear layer's input by s[k], channel by channel,
// and multiplies the columns of its weight by the same: the product is unchanged. The division costs nothing
// at run time, because what produces the input takes it in: the norm's weight, the rows of up_proj for
// down_proj's input, the rows of v_proj for o_proj's. The result is an ordinary checkpoint.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/weights.h"

namespace octet {

struct ModuleRecipe {
  std::vector<float> column_scale;        // [k] the weight's columns are multiplied by it; empty: 1
  std::vector<float> row_divisor;         // [n] the weight's rows are divided by it; empty: 1
  std::vector<float> input_scale;         // [1] where the input is static
  std::vector<int32_t> input_zero_point;  // [1] where it has one
  std::optional<HostLinear> rounded;      // where the codes were chosen during calibration
};

struct Recipe {
  std::map<std::string, ModuleRecipe> modules;
  std::map<std::string, std::vector<float>> vectors;  // norms and biases that change, by tensor name
};

// The module's weight [n, k] as it is to be quantized: scaled as the recipe says.
Result<std::vector<float>> scaled_weight(const Checkpoint& checkpoint, const std::string& module,
                                         const ModuleRecipe& recipe);

// All values of a tensor, in order.
Result<std::vector<float>> read_tensor(const Checkpoint& checkpoint, const std::string& tensor);

// weight [n, k] in the codes of `scheme`, with scales for the largest value (int4: of least error).
HostLinear quantize_weight(const std::vector<float>& weight, int64_t k, const QuantScheme& scheme);

// The module quantized (or in 16 bits) as the recipe says. A module without a recipe is read as it is.
Result<HostLinear> make_linear(const Checkpoint& checkpoint, const std::string& module,
                               const QuantScheme& scheme, const Recipe& recipe);

}  // namespace octet
