// Where no whole scheme is both fast and close enough: each layer's error in each faster scheme, and from
// these a scheme for each layer.
#include <algorithm>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "advise/layer_plan.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/advise_quality.h"
#include "cli/eval_session.h"

namespace octet {
namespace {

constexpr int64_t kWindowsALayer = 1;
constexpr int kAttempts = 4;
constexpr double kMargin = 0.9;  // of what the bound leaves: the layers' errors are those of a short text

std::string layer_name(size_t layer) {
  return fmt::format("model.layers.{}", layer);
}

ModelArgs load_of(const AdviseArgs& args, const RecipeFile& recipe) {
  QuantizeOptions options;
  apply_recipe(recipe, &options);
  ModelArgs load = baseline_args(args.model, args.model.model);
  load.options.scheme = options.scheme;
  load.options.overrides = options.overrides;
  load.options.quantize_head = options.quantize_head;
  load.options.kv_dtype = args.kv_dtypes.front();
  return load;
}

// Variants that are made while loading, are faster than the best one that meets the bounds, and lose too much
// themselves.
std::vector<size_t> faster_variants(const Advice& advice, const std::string& kv, double cost) {
  std::vector<size_t> found;
  for (const Outcome& outcome : advice.ranked) {
    const Variant& variant = advice.variants[outcome.variant];
    const std::string& scheme = advice.candidates[outcome.variant];
    if (outcome.variant == 0 || variant.kv != kv || outcome.quality_used < 1 || outcome.cost >= cost)
      continue;
    if (scheme_by_name(scheme).ok() && !scheme_is_calibrated(scheme)) found.push_back(outcome.variant);
  }
  return found;
}

Result<LayerChoice> measure_layers(const AdviseArgs& args, const std::string& stored,
                                   const std::string& scheme, Session& baseline, const QualityText& text) {
  const auto n_layers = static_cast<size_t>(baseline.model->config().n_layers);
  LayerChoice choice{scheme, 0, {}};
  QualityText part = text;
  part.window.limit = kWindowsALayer;
  Progress progress("sensitivity to " + scheme, "layers", static_cast<int64_t>(n_layers));
  for (size_t layer = 0; layer < n_layers; ++layer) {
    const ModelArgs load = load_of(args, {stored, {{layer_name(layer), scheme}}});
    OCTET_ASSIGN_OR_RETURN(const auto figures, measure_quality(load, baseline, part, layer_name(layer)));
    choice.error.push_back(figures.kl);
    progress.advance();
  }
  return choice;
}

RecipeFile recipe_of(const std::vector<LayerChoice>& choices, const std::vector<size_t>& plan,
                     bool quantize_head) {
  std::vector<int> count(choices.size());
  for (const size_t choice : plan) ++count[choice];
  const auto most = static_cast<size_t>(std::max_element(count.begin(), count.end()) - count.begin());
  RecipeFile recipe{choices[most].scheme, {}, quantize_head};
  for (size_t layer = 0; layer < plan.size(); ++layer) {
    if (plan[layer] != most) recipe.layers[layer_name(layer)] = choices[plan[layer]].scheme;
  }
  return recipe;
}

}  // namespace

Status add_plan_by_layer(const AdviseArgs& args, const QualityText& text, Advice& advice) {
  const Variant stored = advice.variants.front();
  const double limit_cost = advice.found() ? advice.best().cost : std::numeric_limits<double>::max();
  const auto faster = faster_variants(advice, stored.kv, limit_cost);
  if (faster.empty()) {
    advice.by_layer = advice.found()
                          ? "a plan by layer is unnecessary: no scheme that is made while loading breaks "
                            "the quality bound and is faster than " +
                                advice.recommended().name()
                          : "no plan by layer: it is not the quality bound that rules the schemes out";
    return {};
  }
  const auto cost = [&](size_t variant) {
    return evaluate(advice.variants, variant, advice.workload, advice.requirements).cost;
  };
  OCTET_ASSIGN_OR_RETURN(Session baseline, open_quality_baseline(args));
  std::vector<LayerChoice> choices(1);
  choices[0].scheme = advice.candidates.front();
  choices[0].cost = cost(0);
  choices[0].error.assign(static_cast<size_t>(baseline.model->config().n_layers), 0);
  double limit = std::numeric_limits<double>::max();  // of the layers' errors together
  for (const size_t variant : faster) {
    OCTET_ASSIGN_OR_RETURN(auto choice, measure_layers(args, advice.candidates.front(),
                                                       advice.candidates[variant], baseline, text));
    choice.cost = cost(variant);
    double sum = 0;
    for (const double error : choice.error) sum += error;
    // What the layers lose together stands for what the whole scheme loses: as much less as the bound asks.
    const double used = quality_used(advice.requirements.bounds, *advice.variants[variant].quality);
    if (used > 0) limit = std::min(limit, kMargin * sum / used);
    choices.push_back(std::move(choice));
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto plan = plan_layers(choices, limit);
    if (!plan.ok()) break;
    if (std::all_of(plan->begin(), plan->end(), [](size_t c) { return c == 0; })) break;
    const RecipeFile recipe = recipe_of(choices, *plan, args.model.options.quantize_head);
    const ModelArgs load = load_of(args, recipe);
    OCTET_ASSIGN_OR_RETURN(const auto figures, measure_quality(load, baseline, text, "plan by layer"));
    const double used = quality_used(advice.requirements.bounds, figures);
    log_info(fmt::format("plan by layer: {} of {} layers in {}, {:.0f} % of the bound",
                         plan->size() - recipe.layers.size(), plan->size(), recipe.scheme, 100 * used));
    if (used >= 1) {
      limit *= kMargin / used;
      continue;
    }
    advice.by_layer =
        fmt::format("plan by layer: {} in {}", plan->size() - recipe.layers.size(), recipe.scheme);
    std::map<std::string, int> others;
    for (const auto& [layer, scheme] : recipe.layers) ++others[scheme];
    for (const auto& [scheme, n] : others) advice.by_layer += fmt::format(", {} in {}", n, scheme);
    baseline = Session();
    const size_t variant = advice.variants.size();
    OCTET_RETURN_IF_ERROR(measure_speed(args, "by layer", load, figures, advice));
    if (advice.variants.size() > variant) advice.layers = {variant, recipe};
    return {};
  }
  advice.by_layer = "no plan by layer meets the bounds and is faster";
  return {};
}

}  // namespace octet
