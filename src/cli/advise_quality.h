// How far variants are from the model as it is stored: measured on a text, or read from an earlier
// evaluation.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/advise.h"
#include "eval/windows.h"

namespace octet {

struct QualityText {
  std::vector<int32_t> tokens;
  WindowOptions window;
  std::string label;
};

// The model as it is stored, sized for windows of text.
Result<Session> open_quality_baseline(const AdviseArgs& args);
// --data, or what the model writes.
Result<QualityText> quality_text(const AdviseArgs& args, const Session& baseline);

Result<QualityFigures> measure_quality(const ModelArgs& load, Session& baseline, const QualityText& text,
                                       const std::string& name);

// The rows of `octet eval compare --json`, by scheme.
Result<std::map<std::string, QualityFigures>> read_quality(const std::string& path);

// Times the steps of `load` once and adds it to the variants; left out, and said, where it does not fit.
Status measure_speed(const AdviseArgs& args, const std::string& scheme, ModelArgs load,
                     const std::optional<QualityFigures>& quality, Advice& advice);

// The second round, the last variant first: what changes on the machine meanwhile is shared by all.
Status time_again(Advice& advice);

// Where no fast scheme meets the bounds: measures each layer alone in each of those, plans a scheme for each
// layer, measures the plan, and adds it to the variants.
Status add_plan_by_layer(const AdviseArgs& args, const QualityText& text, Advice& advice);

}  // namespace octet
