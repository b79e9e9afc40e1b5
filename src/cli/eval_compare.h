// What `octet eval compare` finds, and how it is shown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/choices.h"
#include "eval/divergence.h"
#include "report/report_page.h"

namespace octet {

struct CompareRow {
  std::string scheme;   // as asked for: a name, or a checkpoint
  std::string runs_as;  // what the model says
  PerplexityResult perplexity;
  std::optional<DivergenceResult> divergence;  // none in the baseline's own row
  int64_t weight_bytes = 0;
  struct Task {
    std::string name;
    Estimate accuracy;
    std::optional<PairedDifference> paired;
  };
  std::vector<Task> tasks;
};

struct Comparison {
  std::string model, device, text, command;
  std::vector<CompareRow> rows;  // the baseline first
};

nlohmann::ordered_json to_json(const Comparison& comparison);
ReportTable comparison_table(const Comparison& comparison);
std::string to_text(const ReportTable& table);
ReportPage comparison_page(const Comparison& comparison);

}  // namespace octet
