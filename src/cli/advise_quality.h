// How far variants are from the model as it is stored: measured on a text, or read from an earlier
// evaluation.
#pragma once

#include <map>
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

}  // namespace octet
