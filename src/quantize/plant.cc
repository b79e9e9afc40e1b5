#include "quantize/plant.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>

#include "quantize/layer_runner.h"

namespace octet {

Result<Recipe> plant_outliers(const Checkpoint& checkpoint, const PlantOptions& options) {
  const ModelConfig& config = checkpoint.config;
  if (options.strength < 2 || options.strength > 4096 ||
      !std::has_single_bit(static_cast<uint32_t>(options.strength))) {
    return invalid_argument("--strength " + std::to_string(options.strength) +
                            ": expected a power of two from 2 to 4096");
  }
  if (options.channels < 1 || options.channels > config.hidden_size) {
    return invalid_argument("--channels " + std::to_string(options.channels) + ": expected 1 to " +
                            std::to_string(config.hidden_size));
  }
  Recipe recipe;
  std::mt19937_64 generator(options.seed);
  std::vector<int32_t> order(static_cast<size_t>(config.hidden_size));
  std::iota(order.begin(), order.end(), 0);
  for (int32_t layer = 0; layer < config.n_layers; ++layer) {
    for (const InputKind kind : {InputKind::kQkv, InputKind::kGateUp}) {
      const auto chosen = static_cast<size_t>(options.channels);
      for (size_t i = 0; i < chosen; ++i) std::swap(order[i], order[i + generator() % (order.size() - i)]);
      const std::string norm =
          "model.layers." + std::to_string(layer) +
          (kind == InputKind::kQkv ? ".input_layernorm.weight" : ".post_attention_layernorm.weight");
      OCTET_ASSIGN_OR_RETURN(auto gamma, read_tensor(checkpoint, norm));
      std::vector<float> quieter(gamma.size(), 1.0f);
      for (size_t i = 0; i < chosen; ++i) {
        gamma[static_cast<size_t>(order[i])] *= static_cast<float>(options.strength);
        quieter[static_cast<size_t>(order[i])] = 1.0f / static_cast<float>(options.strength);
      }
      recipe.vectors[norm] = std::move(gamma);
      for (const auto& module : modules_of_input(layer, kind)) recipe.modules[module].column_scale = quieter;
    }
  }
  return recipe;
}

}  // namespace octet
