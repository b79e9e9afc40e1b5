// Where a decode step's time goes.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "report/study_parts.h"

namespace octet {
namespace {

using Steps = std::vector<const StepRow*>;

constexpr const char* kClasses[] = {
    "linear layers", "output head", "attention", "norms, activations, the rest", "sampling", "host", "idle"};

// The kinds of work that pictures tell apart, of the many parts of a profile.
const char* class_of(const std::string& part) {
  if (part == "linear head") return kClasses[1];
  if (part.starts_with("linear")) return kClasses[0];
  if (part == "attention") return kClasses[2];
  if (part == "sampling") return kClasses[4];
  if (part == "host") return kClasses[5];
  if (part == "idle") return kClasses[6];
  return kClasses[3];
}

std::map<std::string, double> by_class(const StepRow& step) {
  std::map<std::string, double> us;
  for (const auto& part : step.parts) us[class_of(part.name)] += part.us;
  return us;
}

double sum_of(const StepRow& step) {
  double sum = 0;
  for (const auto& part : step.parts) sum += part.us;
  return sum;
}

std::string variant(const StepRow& s) {
  return s.scheme + (is_half(s.kv_dtype) ? "" : " + KV " + s.kv_dtype);
}

// The value that most steps have, the largest of those.
int32_t most_frequent(const Steps& steps, int32_t StepRow::*member) {
  std::map<int32_t, size_t> counts;
  for (const StepRow* s : steps) ++counts[s->*member];
  return std::ranges::max_element(counts, {}, [](const auto& c) { return std::pair(c.second, c.first); })
      ->first;
}

// 64 where it was measured, else the most frequent batch.
int32_t batch_to_show(const Steps& steps) {
  const bool standard = std::ranges::any_of(steps, [](const StepRow* s) { return s->batch == 64; });
  return standard ? 64 : most_frequent(steps, &StepRow::batch);
}

Figure stacked(const Steps& steps, int32_t StepRow::*place, bool shares) {
  Figure figure;
  figure.kind = Figure::Kind::kStackedBars;
  for (const StepRow* s : steps) {
    figure.places.push_back(std::to_string(s->*place));
    figure.groups.push_back(variant(*s));
  }
  for (size_t c = 0; c < std::size(kClasses); ++c) {
    FigureSeries series{
        kClasses[c], figure_color(std::array<size_t, 7>{1, 8, 2, 3, 4, 0, 0}[c]), false, {}, {}, {}};
    double most = 0;
    for (const StepRow* s : steps) {
      const auto us = by_class(*s);
      const auto found = us.find(kClasses[c]);
      const double value = found == us.end() ? 0 : found->second;
      series.values.emplace_back(shares ? 100 * value / std::max(sum_of(*s), 1e-9) : value / 1e3);
      most = std::max(most, value);
    }
    if (most > 0) figure.series.push_back(std::move(series));
  }
  return figure;
}

ReportTable step_table(const Steps& steps) {
  ReportTable table;
  table.caption =
      "Decode steps, microseconds by kind of work; the step is untraced, the parts are those of a traced one "
      "without what tracing adds";
  table.header = {"scheme", "batch", "context", "step"};
  std::set<std::string> used;
  for (const StepRow* s : steps)
    for (const auto& [name, us] : by_class(*s)) used.insert(name);
  std::vector<std::string> names;
  std::ranges::copy_if(kClasses, std::back_inserter(names), [&](const char* c) { return used.contains(c); });
  table.header.insert(table.header.end(), names.begin(), names.end());
  for (const StepRow* s : steps) {
    std::vector<std::string> row = {variant(*s), std::to_string(s->batch), std::to_string(s->context),
                                    fmt::format("{:.1f}", s->step_us)};
    auto us = by_class(*s);
    for (const auto& name : names) row.push_back(fmt::format("{:.1f}", us[name]));
    table.rows.push_back(std::move(row));
  }
  return table;
}

void add_setting(const Steps& steps, const Setting& setting, Study& study) {
  ReportSection section;
  section.title = "Where a decode step's time goes" + setting.suffix;
  const int32_t context = most_frequent(steps, &StepRow::context), batch = batch_to_show(steps);
  Steps by_batch, by_context;
  std::ranges::copy_if(steps, std::back_inserter(by_batch),
                       [&](const auto* s) { return s->context == context; });
  std::ranges::copy_if(steps, std::back_inserter(by_context),
                       [&](const auto* s) { return s->batch == batch; });

  Figure shares = stacked(by_batch, &StepRow::batch, true);
  shares.id = "step-shares" + setting.id;
  shares.caption = fmt::format("Share of a decode step by batch size, context {}", context);
  shares.x_title = "sequences in the step";
  shares.y_title = "share of the step, %";
  add_figure(study, section, shares);

  Figure breakdown = stacked(by_context, &StepRow::context, false);
  breakdown.id = "step-breakdown" + setting.id;
  breakdown.caption = fmt::format("A decode step by scheme and context length, batch {}", batch);
  breakdown.x_title = "tokens of context";
  breakdown.y_title = "milliseconds";
  add_figure(study, section, breakdown);

  section.tables = {step_table(steps)};
  section.tables.back().id = "decode-steps" + setting.id;
  study.sections.push_back(std::move(section));
}

}  // namespace

void add_steps(const Results& results, Study& study) {
  std::vector<StepRow> decode;
  std::ranges::copy_if(results.steps, std::back_inserter(decode),
                       [](const auto& s) { return s.phase == "decode" && !s.parts.empty(); });
  std::ranges::stable_sort(decode, {}, [](const StepRow& s) {
    return std::tuple(!is_half(s.scheme), s.scheme, !is_half(s.kv_dtype), s.kv_dtype, s.batch, s.context);
  });
  for (const Setting& setting : settings_of(decode)) {
    Steps steps;
    for (const StepRow& s : decode)
      if (s.device == setting.device && s.model == setting.model) steps.push_back(&s);
    add_setting(steps, setting, study);
  }
  if (decode.empty()) {
    study.missing.push_back({"Share of a decode step by batch size, and its breakdown by context length",
                             "octet profile MODEL --schemes bf16,int8-minmax,fp8 --batches 1,16,64 "
                             "--contexts 128,1024,4096 --output profile.json"});
  }
}

}  // namespace octet
