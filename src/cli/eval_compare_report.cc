#include <algorithm>

#include <fmt/format.h>

#include "cli/eval_compare.h"
#include "cli/version.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

double tokens_per_second(const CompareRow& row) {
  return row.perplexity.seconds > 0 ? static_cast<double>(row.perplexity.tokens) / row.perplexity.seconds : 0;
}

double over_baseline(const CompareRow& row) {
  return row.perplexity.ratio.has_value() ? row.perplexity.ratio->value - 1 : 0;
}

// Bars of one quantity, a bar a row, with error bars.
template <typename Value>
ReportChart bars(const Comparison& c, const std::string& caption, const std::string& unit,
                 const Value& value) {
  ordered_json names = ordered_json::array(), values = names, errors = names;
  for (const CompareRow& row : c.rows) {
    const std::optional<Estimate> e = value(row);
    if (!e.has_value()) continue;
    names.push_back(row.scheme);
    values.push_back(e->value);
    errors.push_back(e->error);
  }
  ReportChart chart;
  chart.caption = caption;
  chart.height = 320;
  chart.traces.push_back(
      {{"type", "bar"},
       {"x", names},
       {"y", values},
       {"error_y", {{"type", "data"}, {"array", errors}, {"color", "#6e7781"}, {"thickness", 1.2}}}});
  chart.layout = {{"xaxis", {{"type", "category"}}},
                  {"yaxis", {{"title", {{"text", unit}}}, {"rangemode", "tozero"}}}};
  return chart;
}

// Quality beside size: what a scheme costs and what it saves.
ReportChart size_chart(const Comparison& c) {
  static constexpr const char* kSymbols[] = {"circle", "diamond", "square", "cross"};  // as colours run out
  ordered_json traces = ordered_json::array();
  for (const CompareRow& row : c.rows) {
    const double error = row.perplexity.ratio.has_value() ? row.perplexity.ratio->error : 0;
    traces.push_back(
        {{"type", "scatter"},
         {"mode", "markers"},
         {"name", row.scheme},
         {"marker", {{"size", 11}, {"symbol", kSymbols[traces.size() / 8 % std::size(kSymbols)]}}},
         {"x", {static_cast<double>(row.weight_bytes) / (1 << 20)}},
         {"y", {100 * over_baseline(row)}},
         {"error_y", {{"type", "data"}, {"array", {100 * error}}, {"thickness", 1.2}}}});
  }
  ReportChart chart;
  chart.caption = "Perplexity over the baseline, beside the size of the weights";
  chart.traces = traces;
  chart.layout = {{"xaxis", {{"title", {{"text", "weights, MiB"}}}, {"rangemode", "tozero"}}},
                  {"yaxis", {{"title", {{"text", "perplexity over the baseline, %"}}}}}};
  return chart;
}

}  // namespace

ordered_json to_json(const Comparison& c) {
  ordered_json rows = ordered_json::array();
  for (const CompareRow& row : c.rows) {
    ordered_json r = {{"variant", c.model}, {"scheme", row.scheme}, {"runs_as", row.runs_as}};
    if (row.divergence.has_value()) {
      r.update(to_json(*row.divergence));
    } else {
      r.update(to_json(row.perplexity));
      r.update({{"kl", 0}, {"top1", 1}});
    }
    r["weight_bytes"] = row.weight_bytes;
    r["tokens_per_second"] = tokens_per_second(row);
    for (const auto& task : row.tasks) {
      ordered_json t = {{"acc", task.accuracy.value}, {"acc_error", task.accuracy.error}};
      if (task.paired.has_value()) t["paired"] = to_json(*task.paired);
      r[task.name] = t;
    }
    rows.push_back(r);
  }
  return {{"kind", "comparison"}, {"version", kVersion},  {"model", c.model}, {"device", c.device},
          {"text", c.text},       {"command", c.command}, {"rows", rows}};
}

ReportTable comparison_table(const Comparison& c) {
  ReportTable table;
  table.caption = "Every scheme beside the baseline (first row); +- is one standard error";
  table.header = {"scheme",      "perplexity",   "over baseline, %", "KL",
                  "same top, %", "weights, MiB", "tokens/s"};
  for (const auto& task : c.rows.front().tasks) {
    table.header.push_back(task.name + ", %");
    table.header.push_back("less baseline, %");
    table.header.push_back("p");
  }
  for (const CompareRow& row : c.rows) {
    const auto& p = row.perplexity;
    std::vector<std::string> cells = {
        row.scheme, fmt::format("{:.3f} +- {:.3f}", p.perplexity.value, p.perplexity.error)};
    cells.push_back(p.ratio.has_value()
                        ? fmt::format("{:+.2f} +- {:.2f}", 100 * over_baseline(row), 100 * p.ratio->error)
                        : "");
    if (row.divergence.has_value()) {
      cells.push_back(fmt::format("{:.4f} +- {:.4f}", row.divergence->kl.value, row.divergence->kl.error));
      cells.push_back(fmt::format("{:.2f} +- {:.2f}", 100 * row.divergence->top1.value,
                                  100 * row.divergence->top1.error));
    } else {
      cells.insert(cells.end(), 2, "");
    }
    cells.push_back(fmt::format("{:.1f}", static_cast<double>(row.weight_bytes) / (1 << 20)));
    cells.push_back(fmt::format("{:.0f}", tokens_per_second(row)));
    for (const auto& task : row.tasks) {
      cells.push_back(fmt::format("{:.2f} +- {:.2f}", 100 * task.accuracy.value, 100 * task.accuracy.error));
      cells.push_back(
          task.paired.has_value()
              ? fmt::format("{:+.2f} +- {:.2f}", 100 * task.paired->difference, 100 * task.paired->error)
              : "");
      cells.push_back(task.paired.has_value() ? fmt::format("{:.3g}", task.paired->p_value) : "");
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string to_text(const ReportTable& table) {
  std::vector<size_t> widths(table.header.size(), 0);
  const auto measure = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  };
  measure(table.header);
  for (const auto& row : table.rows) measure(row);
  std::string text;
  const auto append = [&](const std::vector<std::string>& cells) {
    if (!text.empty()) text += "\n";
    for (size_t i = 0; i < cells.size(); ++i) {
      text +=
          i == 0 ? fmt::format("{:<{}}", cells[i], widths[i]) : fmt::format("  {:>{}}", cells[i], widths[i]);
    }
  };
  append(table.header);
  for (const auto& row : table.rows) append(row);
  return text;
}

ReportPage comparison_page(const Comparison& c) {
  ReportPage page;
  page.title = "What each scheme costs: " + c.model;
  page.paragraphs = {fmt::format(
      "{} tokens of {} in {} windows, on {}. The baseline is the model as it is stored; KL is that of the "
      "next-token distributions from the baseline's, in nats a token.",
      c.rows.front().perplexity.tokens, c.text, c.rows.front().perplexity.windows, c.device)};
  page.tables.push_back(comparison_table(c));
  page.charts.push_back(size_chart(c));
  page.charts.push_back(bars(c, "Perplexity", "perplexity",
                             [](const CompareRow& r) { return std::optional(r.perplexity.perplexity); }));
  page.charts.push_back(bars(c, "Perplexity over the baseline", "%", [](const CompareRow& r) {
    return r.perplexity.ratio.has_value()
               ? std::optional(Estimate{100 * over_baseline(r), 100 * r.perplexity.ratio->error})
               : std::nullopt;
  }));
  page.charts.push_back(bars(c, "KL divergence from the baseline", "nats a token", [](const CompareRow& r) {
    return r.divergence.has_value() ? std::optional(r.divergence->kl) : std::nullopt;
  }));
  for (size_t t = 0; t < c.rows.front().tasks.size(); ++t) {
    page.charts.push_back(bars(c, "Accuracy, " + c.rows.front().tasks[t].name, "%", [t](const CompareRow& r) {
      const Estimate& e = r.tasks[t].accuracy;
      return std::optional(Estimate{100 * e.value, 100 * e.error});
    }));
  }
  page.charts.push_back(bars(c, "Size of the weights", "MiB", [](const CompareRow& r) {
    return std::optional(Estimate{static_cast<double>(r.weight_bytes) / (1 << 20), 0});
  }));
  page.charts.push_back(
      bars(c, "Speed of this evaluation (prompts of one window)", "tokens/s", [](const CompareRow& r) {
        return std::optional(Estimate{tokens_per_second(r), 0});
      }));
  page.command = c.command;
  return page;
}

}  // namespace octet
