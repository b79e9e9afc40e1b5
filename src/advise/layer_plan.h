// A scheme for each layer: the least time whose error stays within a limit, where errors of layers add up.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

struct LayerChoice {
  std::string scheme;
  double cost = 0;            // of one layer in it; layers are alike
  std::vector<double> error;  // [layers] of that layer alone in it
};

// One index into `choices` for each layer. Greedy: all layers in the fastest; while the errors' sum is above
// `limit`, the layer that loses most error for the time that it costs changes. kNotFound where no step is
// left: the choices' least error is still too much.
Result<std::vector<size_t>> plan_layers(const std::vector<LayerChoice>& choices, double limit);

}  // namespace octet
