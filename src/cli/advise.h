// `octet advise`: what it is asked, what it measures, what it says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "advise/choice.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "quantize/calibration_text.h"
#include "quantize/recipe_file.h"

namespace octet {

struct AdviseArgs {
  ModelArgs model;
  std::string workload = "2048/128";  // tokens of a prompt / of an answer
  double rate = 0;
  int32_t max_batch = 64, requests = 0;
  std::string quality, memory, ttft;
  std::vector<std::string> schemes = {"int8", "int8-minmax", "fp8"}, kv_dtypes = {"auto"};
  std::string data, quality_from, checkpoints;
  int32_t windows = 8;
  CalibrationTextOptions calibration;
  bool json = false, check = false, no_check = false;
  std::string output, recipe;
};

struct Advice {
  std::string model, device, quality_text;  // where quality comes from
  ServedWorkload workload;
  Requirements requirements;
  std::vector<Variant> variants;
  std::vector<ModelArgs> loads;         // beside variants: what to load for each
  std::vector<std::string> candidates;  // beside variants: its scheme as asked for
  std::vector<std::string> left_out;    // what could not be measured, and why
  std::vector<Outcome> ranked;
  WhatIf what_if;
  std::string by_layer;  // what came of a scheme for each layer; empty where nobody asked for a recipe
  struct LayersPlan {
    size_t variant = 0;  // that it became
    RecipeFile recipe;
  };
  std::optional<LayersPlan> layers;  // where a plan by layer was measured
  double slower_now = 1;             // time of the recommended variant's steps at the end, over that before
  std::optional<ThroughputResult> measured;  // of the recommended variant, for real

  bool found() const { return !ranked.empty() && ranked.front().why_not.empty(); }
  const Outcome& best() const { return ranked.front(); }
  const Variant& recommended() const { return variants[best().variant]; }
};

// Errors: of options, of loading, and of measuring. What does not fit the device is left out, and said.
Result<Advice> measure_variants(const AdviseArgs& args);
// The recommended variant's steps, timed once more, and the workload on it, measured.
Status check_advice(const AdviseArgs& args, Advice& advice);

void add_advise(CLI::App& app, Action& action);

std::string to_text(const Advice& advice);
nlohmann::ordered_json to_json(const Advice& advice);
// Nothing meets the bounds: what comes closest.
Status nothing_found(const Advice& advice);

}  // namespace octet
