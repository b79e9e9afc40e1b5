#include "report/study.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "base/median.h"
#include "report/study_parts.h"

namespace octet {
namespace {

auto order_of(const SpeedRow& r) {
  return std::tuple(r.engine != "octet", r.engine, r.device, r.model, !is_half(r.scheme), r.scheme,
                    r.quantized_head, !is_half(r.kv_dtype), r.kv_dtype, r.input_len, r.output_len, r.rate,
                    r.max_batch, -r.requests);
}

std::optional<double> limit_of(const SpeedRow& row, const Results& results, const ShapeOf& shape_of) {
  if (row.rate > 0 || row.max_batch < 1) return std::nullopt;
  const auto shape = shape_of(row.model);
  auto rates = known_rates(row.device);
  if (const auto own = results.rates.find(row.device); !rates.has_value() && own != results.rates.end())
    rates = own->second;
  if (!shape.has_value() || !rates.has_value()) return std::nullopt;
  const auto cost = scheme_cost(row.scheme, *rates);
  if (!cost.has_value()) return std::nullopt;
  return limit_output_tok_s(
      *shape, *rates, *cost,
      {row.input_len, row.output_len, row.max_batch, is_half(row.kv_dtype) ? 2.0 : 1.0, row.quantized_head});
}

SpeedCell join(const std::vector<const SpeedRow*>& runs) {
  SpeedCell cell{*runs.front(), {}, {}};
  for (const auto member :
       {&SpeedRow::output_tok_s, &SpeedRow::ttft_p50, &SpeedRow::ttft_p99, &SpeedRow::tpot_p50}) {
    std::vector<double> values;
    for (const SpeedRow* run : runs)
      if ((run->*member).has_value()) values.push_back(*(run->*member));
    if (values.empty()) continue;
    cell.row.*member = median(values);
    const auto [low, high] = std::ranges::minmax(values);
    if (member == &SpeedRow::output_tok_s && values.size() > 1 && low > 0) cell.spread = high / low;
  }
  return cell;
}

}  // namespace

bool is_half(const std::string& dtype) {
  return dtype == "bf16" || dtype == "fp16";
}

std::string variant_name(const SpeedRow& row) {
  return row.scheme + (row.quantized_head ? " + head" : "") +
         (is_half(row.kv_dtype) ? "" : " + KV " + row.kv_dtype);
}

std::string series_name(const SpeedRow& row) {
  return (row.engine == "octet" ? "" : row.engine + ": ") + variant_name(row);
}

std::string slug(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

std::string cell_text(const std::optional<double>& value, int decimals) {
  return value.has_value() ? fmt::format("{:.{}f}", *value, decimals) : "";
}

void name_settings(std::vector<Setting>& settings) {
  if (settings.size() < 2) return;
  for (size_t i = 0; i < settings.size(); ++i) {
    settings[i].suffix = ": " + settings[i].model + " on " + settings[i].device;
    settings[i].id = "-" + slug(settings[i].model) + "-" + std::to_string(i + 1);
  }
}

std::vector<SpeedCell> speed_cells(const Results& results, const ShapeOf& shape_of) {
  std::map<decltype(order_of(SpeedRow())), std::vector<const SpeedRow*>> groups;
  for (const SpeedRow& row : results.speeds) groups[order_of(row)].push_back(&row);
  std::vector<SpeedCell> cells;
  for (auto& [key, rows] : groups) {
    if (std::ranges::any_of(rows, [](const auto* r) { return !r->summary; }))
      std::erase_if(rows, [](const auto* r) { return r->summary; });
    cells.push_back(join(rows));
    cells.back().limit = limit_of(cells.back().row, results, shape_of);
  }
  return cells;
}

std::vector<SpeedCell> largest_runs(const std::vector<SpeedCell>& cells) {
  std::vector<SpeedCell> largest;
  for (const SpeedCell& cell : cells) {
    SpeedRow alike = cell.row;
    if (!largest.empty()) alike.requests = largest.back().row.requests;
    if (largest.empty() || order_of(alike) != order_of(largest.back().row)) largest.push_back(cell);
  }
  return largest;
}

void add_figure(Study& study, ReportSection& section, Figure figure) {
  section.charts.push_back(to_chart(figure));
  section.charts.back().svg = to_svg(figure);
  study.figures.push_back(std::move(figure));
}

Study make_study(const Results& results, const ShapeOf& shape_of) {
  Study study;
  const auto all = speed_cells(results, shape_of), cells = largest_runs(all);
  add_throughput(cells, study);
  add_static_against_dynamic(all, study);
  add_first_token(cells, study);
  add_steps(results, study);
  add_quality(results, study);
  add_trade(results, cells, study);
  return study;
}

ReportPage study_page(const Study& study, const Results& results, const std::string& command) {
  ReportPage page;
  page.title = "Speed and quality by scheme";
  page.command = command;
  std::vector<Setting> settings = settings_of(results.speeds);
  for (const Setting& s : settings_of(results.steps))
    if (std::ranges::find(settings, s) == settings.end()) settings.push_back(s);
  for (const Setting& s : settings)
    page.paragraphs.push_back(fmt::format("Speeds: {} on {}.", s.model, s.device));
  std::vector<std::string> models;
  for (const QualityRow& q : results.qualities)
    if (std::ranges::find(models, q.model) == models.end()) models.push_back(q.model);
  if (!models.empty()) page.paragraphs.push_back(fmt::format("Qualities: {}.", fmt::join(models, "; ")));
  page.sections = study.sections;
  ReportTable origins{
      "What measured these results, as their files tell it", {"file", "version", "command"}, {}};
  for (const Origin& o : results.origins) origins.rows.push_back({o.file, o.version, o.command});
  if (!origins.rows.empty()) page.sections.push_back({"Sources", {}, {}, {origins}});
  if (!study.missing.empty()) {
    ReportTable table{"What there are no results for", {"picture", "made by"}, {}};
    for (const MissingPart& m : study.missing) table.rows.push_back({m.what, m.command});
    page.sections.push_back({"Left out", {}, {}, {table}});
  }
  return page;
}

}  // namespace octet
