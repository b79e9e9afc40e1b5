#include "quantize/calibration_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace octet {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMostColumns = 192;  // of a picture; channels side by side share one, by their largest
constexpr const char* kKinds[] = {"qkv", "o", "gate_up", "down"};

float largest(const std::vector<float>& values) {
  return values.empty() ? 0.0f : *std::max_element(values.begin(), values.end());
}

float median(std::vector<float> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// How far the loudest channel stands out from the usual one.
double outlier_ratio(const std::vector<float>& absmax) {
  const float usual = median(absmax);
  return usual > 0 ? static_cast<double>(largest(absmax)) / usual : 0;
}

double rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.5g", value);
  return std::strtod(text, nullptr);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

std::string alpha_text(const Smoothing& smoothing) {
  return smoothing.alpha ? number(static_cast<double>(*smoothing.alpha)) + " of " + smoothing.size : "none";
}

// log10 of the ranges of one kind of input, [layers, columns].
ordered_json heat(const Calibration& calibration, const std::string& kind, bool smoothed) {
  ordered_json rows = ordered_json::array();
  for (const auto& input : calibration.inputs) {
    if (input.name != kind) continue;
    const auto& ranges = smoothed ? input.absmax_smoothed : input.absmax;
    const size_t columns = std::min(kMostColumns, ranges.size());
    ordered_json row = ordered_json::array();
    for (size_t c = 0; c < columns; ++c) {
      const auto begin = ranges.begin() + static_cast<ptrdiff_t>(c * ranges.size() / columns);
      const auto end = ranges.begin() + static_cast<ptrdiff_t>((c + 1) * ranges.size() / columns);
      row.push_back(rounded(std::log10(std::max(1e-4, static_cast<double>(*std::max_element(begin, end))))));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

ReportChart heat_chart(const Calibration& calibration, const std::string& kind) {
  ReportChart chart;
  chart.caption =
      "Largest value by layer and channel, input of " + kind + ": before (left) and after smoothing";
  for (const bool smoothed : {false, true}) {
    const std::string axis = smoothed ? "2" : "";
    chart.traces.push_back({{"type", "heatmap"},
                            {"z", heat(calibration, kind, smoothed)},
                            {"coloraxis", "coloraxis"},
                            {"xaxis", "x" + axis},
                            {"yaxis", "y" + axis}});
  }
  chart.layout = {{"grid", {{"rows", 1}, {"columns", 2}, {"pattern", "independent"}}},
                  {"xaxis", {{"title", {{"text", "channel"}}}, {"showticklabels", false}}},
                  {"xaxis2", {{"title", {{"text", "channel"}}}, {"showticklabels", false}}},
                  {"yaxis", {{"title", {{"text", "layer"}}}}},
                  {"yaxis2", {{"automargin", true}}},
                  {"coloraxis", {{"colorscale", "Viridis"}, {"colorbar", {{"title", {{"text", "log10"}}}}}}}};
  return chart;
}

ReportChart ratio_chart(const Calibration& calibration) {
  ReportChart chart;
  chart.caption = "The loudest channel beside the usual one, by layer (dotted: before smoothing)";
  for (size_t kind = 0; kind < std::size(kKinds); ++kind) {
    for (const bool smoothed : {false, true}) {
      ordered_json y = ordered_json::array();
      for (const auto& input : calibration.inputs) {
        if (input.name == kKinds[kind])
          y.push_back(rounded(outlier_ratio(smoothed ? input.absmax_smoothed : input.absmax)));
      }
      static constexpr const char* kColours[] = {"#0969da", "#cf5b00", "#1a7f37", "#8250df"};
      chart.traces.push_back({{"type", "scatter"},
                              {"mode", "lines"},
                              {"name", std::string(kKinds[kind]) + (smoothed ? "" : ", before")},
                              {"line", {{"dash", smoothed ? "solid" : "dot"}, {"color", kColours[kind]}}},
                              {"y", std::move(y)}});
    }
  }
  chart.layout = {{"xaxis", {{"title", {{"text", "layer"}}}}},
                  {"yaxis", {{"title", {{"text", "largest range / median range"}}}, {"type", "log"}}}};
  return chart;
}

}  // namespace

ordered_json calibration_json(const Calibration& calibration) {
  ordered_json inputs = ordered_json::array();
  for (const auto& input : calibration.inputs) {
    ordered_json entry = {{"layer", input.layer},
                          {"input", input.name},
                          {"channels", input.absmax.size()},
                          {"absmax", rounded(static_cast<double>(largest(input.absmax)))},
                          {"outlier_ratio", rounded(outlier_ratio(input.absmax))},
                          {"absmax_smoothed", rounded(static_cast<double>(largest(input.absmax_smoothed)))},
                          {"outlier_ratio_smoothed", rounded(outlier_ratio(input.absmax_smoothed))},
                          {"alpha", nullptr},
                          {"error_unsmoothed", rounded(input.smoothing.error_plain)},
                          {"error", rounded(input.smoothing.error)}};
    if (input.smoothing.alpha) {
      entry["alpha"] = rounded(static_cast<double>(*input.smoothing.alpha));
      entry["channel_size"] = input.smoothing.size;
    }
    if (input.check) {
      entry["static"] = {{"kept", input.fallback.empty()},
                         {"why_not", input.fallback},
                         {"clipped", rounded(input.check->clipped)},
                         {"error", rounded(input.check->error)},
                         {"error_dynamic", rounded(input.check->error_dynamic)},
                         {"worst_token_error", rounded(input.check->worst_token)}};
    }
    inputs.push_back(std::move(entry));
  }
  return {{"tokens", calibration.tokens},
          {"summary", calibration_summary(calibration)},
          {"inputs", std::move(inputs)}};
}

std::string calibration_summary(const Calibration& calibration) {
  int64_t smoothed = 0, fixed = 0, fallbacks = 0;
  float low = 1, high = 0;
  for (const auto& input : calibration.inputs) {
    if (input.smoothing.alpha) {
      ++smoothed;
      low = std::min(low, *input.smoothing.alpha);
      high = std::max(high, *input.smoothing.alpha);
    }
    fixed += input.check ? 1 : 0;
    fallbacks += input.fallback.empty() ? 0 : 1;
  }
  std::string text = std::to_string(calibration.inputs.size()) + " inputs";
  if (smoothed > 0) {
    text += ", " + std::to_string(smoothed) + " smoothed with alpha " + number(static_cast<double>(low)) +
            " to " + number(static_cast<double>(high));
  }
  if (fixed > 0) {
    text += "; " + std::to_string(fallbacks) + " of " + std::to_string(fixed) +
            " static inputs were not safe and became dynamic";
  }
  return text;
}

ReportPage calibration_page(const Calibration& calibration, const std::string& model,
                            const std::string& scheme, const std::string& command) {
  ReportPage page;
  page.title = "Calibration of " + model + " for " + scheme;
  page.paragraphs = {
      calibration_summary(calibration) + ", from " + std::to_string(calibration.tokens) + " tokens.",
      "Errors are those of a linear layer's output against 16 bits, squared, relative, mean of the tokens."};
  for (const char* kind : kKinds) page.charts.push_back(heat_chart(calibration, kind));
  page.charts.push_back(ratio_chart(calibration));
  ReportTable table;
  table.caption = "Inputs";
  table.header = {"input",       "largest", "outliers", "outliers after", "alpha",
                  "error plain", "error",   "clipped",  "static"};
  for (const auto& input : calibration.inputs) {
    table.rows.push_back(
        {std::to_string(input.layer) + " " + input.name, number(static_cast<double>(largest(input.absmax))),
         number(outlier_ratio(input.absmax)) + "x", number(outlier_ratio(input.absmax_smoothed)) + "x",
         alpha_text(input.smoothing), number(input.smoothing.error_plain), number(input.smoothing.error),
         input.check ? number(100 * input.check->clipped) + " %" : "",
         !input.check             ? ""
         : input.fallback.empty() ? "kept"
                                  : "dynamic: " + input.fallback});
  }
  page.tables.push_back(std::move(table));
  page.command = command;
  return page;
}

}  // namespace octet
