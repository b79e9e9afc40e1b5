#include "quantize/plant.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>

#include "quantize/layer_runner.h"

namespace octet {
namespace {

// Fisher-Yates over all channels, though few are taken: torch.randperm gives this order for the same seed, so
// that simulations in Python plant the same channels.
std::vector<int32_t> shuffled(int32_t n, std::mt19937& generator) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i + 1 < order.size(); ++i)
    std::swap(order[i], order[i + generator() % (order.size() - i)]);
  return order;
}

}  // namespace

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
  std::mt19937 generator(static_cast<uint32_t>(options.seed));
  for (int32_t layer = 0; layer < config.n_layers; ++layer) {
    for (const InputKind kind : {InputKind::kQkv, InputKind::kGateUp}) {
      const auto chosen = static_cast<size_t>(options.channels);
      const std::vector<int32_t> order = shuffled(config.hidden_size, generator);
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
