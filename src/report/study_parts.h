// What the parts of a study share; for study*.cc alone.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "report/study.h"

namespace octet {

// The runs of one cell together: of as many requests each, for fewer fill and drain a batch for a larger part
// of their time. Values are medians.
struct SpeedCell {
  SpeedRow row;
  std::optional<double> spread;  // largest over smallest, of several runs
  std::optional<double> limit;   // output tokens a second
};
// In an order to show them: by engine, 16-bit schemes first; those of one cell the most requests first.
std::vector<SpeedCell> speed_cells(const Results& results, const ShapeOf& shape_of);
// One a cell: of the most requests.
std::vector<SpeedCell> largest_runs(const std::vector<SpeedCell>& cells);

bool is_half(const std::string& dtype);         // "bf16", "fp16"
std::string series_name(const SpeedRow& row);   // "fp8 + KV int8", "vLLM 0.26.0: fp8"
std::string variant_name(const SpeedRow& row);  // the same without the engine
std::string slug(const std::string& text);      // for names of files: "llama-3-1-8b"
std::string cell_text(const std::optional<double>& value, int decimals);

// Where results were made. With several of them in a study, titles and ids say which.
struct Setting {
  std::string device, model, suffix, id;
  bool operator==(const Setting& other) const { return device == other.device && model == other.model; }
};
template <typename Row>
std::vector<Setting> settings_of(const std::vector<Row>& rows);
void name_settings(std::vector<Setting>& settings);

template <typename Row>
std::vector<Setting> settings_of(const std::vector<Row>& rows) {
  std::vector<Setting> settings;
  for (const Row& row : rows) {
    const Setting setting{row.device, row.model, "", ""};
    if (std::find(settings.begin(), settings.end(), setting) == settings.end()) settings.push_back(setting);
  }
  name_settings(settings);
  return settings;
}

// Adds the figure to the study, and its chart to the section.
void add_figure(Study& study, ReportSection& section, Figure figure);

void add_throughput(const std::vector<SpeedCell>& cells, Study& study);
void add_static_against_dynamic(const std::vector<SpeedCell>& cells, Study& study);
void add_first_token(const std::vector<SpeedCell>& cells, Study& study);
void add_steps(const Results& results, Study& study);
void add_quality(const Results& results, Study& study);
void add_trade(const Results& results, const std::vector<SpeedCell>& cells, Study& study);

}  // namespace octet
