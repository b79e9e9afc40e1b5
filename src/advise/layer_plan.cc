#include "advise/layer_plan.h"

#include <algorithm>
#include <limits>

namespace octet {

Result<std::vector<size_t>> plan_layers(const std::vector<LayerChoice>& choices, double limit) {
  OCTET_CHECK(!choices.empty());
  const auto fastest = std::min_element(choices.begin(), choices.end(),
                                        [](const auto& a, const auto& b) { return a.cost < b.cost; });
  const size_t n_layers = fastest->error.size();
  std::vector<size_t> plan(n_layers, static_cast<size_t>(fastest - choices.begin()));
  const auto sum = [&] {
    double total = 0;
    for (size_t layer = 0; layer < n_layers; ++layer) total += choices[plan[layer]].error[layer];
    return total;
  };
  while (sum() > limit) {
    double best = 0;
    size_t best_layer = n_layers, best_choice = 0;
    for (size_t layer = 0; layer < n_layers; ++layer) {
      const LayerChoice& now = choices[plan[layer]];
      for (size_t c = 0; c < choices.size(); ++c) {
        const double saved = now.error[layer] - choices[c].error[layer];
        const double time = choices[c].cost - now.cost;
        if (saved <= 0) continue;
        const double worth = time > 0 ? saved / time : std::numeric_limits<double>::max();
        if (worth <= best) continue;
        best = worth;
        best_layer = layer;
        best_choice = c;
      }
    }
    if (best_layer == n_layers) return not_found("no layer is left to change");
    plan[best_layer] = best_choice;
  }
  return plan;
}

}  // namespace octet
