// What schemes cost in quality, and that against their speed.
#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "report/study_parts.h"

namespace octet {
namespace {

using Rows = std::vector<QualityRow>;
using Value = std::optional<Measured>;

template <typename T, typename Key>
std::vector<std::string> distinct(const std::vector<T>& rows, const Key& key) {
  std::vector<std::string> names;
  for (const T& row : rows)
    if (const std::string name = key(row); std::ranges::find(names, name) == names.end())
      names.push_back(name);
  return names;
}

constexpr size_t kSchemesOfAPicture = 3;  // fewer stand in the table alone, where other models have more

template <typename Get>
Figure scheme_bars(const Rows& rows, const Get& get) {
  Figure figure;
  figure.series = {{rows.front().model, figure_color(1), false, {}, {}, {}}};
  for (const QualityRow& row : rows) {
    const Value value = get(row);
    if (!value.has_value()) continue;
    figure.places.push_back(row.scheme);
    figure.series[0].values.emplace_back(value->value);
    figure.series[0].errors.push_back(value->error);
  }
  return figure;
}

Rows rows_of(const Rows& rows, const std::string& model) {
  Rows some;
  std::ranges::copy_if(rows, std::back_inserter(some), [&](const QualityRow& r) { return r.model == model; });
  return some;
}

std::string with_error(const Value& value, double scale, int decimals) {
  if (!value.has_value()) return "";
  const std::string text = fmt::format("{:.{}f}", scale * value->value, decimals);
  return value->error > 0 ? text + fmt::format(" +- {:.{}f}", scale * value->error, decimals) : text;
}

ReportTable quality_table(const Rows& rows, const std::set<std::string>& tasks) {
  ReportTable table;
  table.caption = "Quality by scheme; +- is one standard error";
  table.id = "quality";
  table.header = {"scheme", "model", "perplexity", "over 16 bit, %", "KL, nats a token", "same top token, %"};
  for (const auto& task : tasks) table.header.push_back(task + ", %");
  for (const QualityRow& r : rows) {
    std::vector<std::string> cells = {r.scheme,
                                      r.model,
                                      with_error(r.perplexity, 1, 3),
                                      with_error(r.over_baseline, 100, 2),
                                      with_error(r.kl, 1, 5),
                                      with_error(r.top1, 100, 2)};
    for (const auto& task : tasks) {
      const auto found = r.accuracy.find(task);
      cells.push_back(found == r.accuracy.end() ? "" : with_error(found->second, 100, 2));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

bool is_baseline(const QualityRow& row) {
  return row.scheme == "baseline";
}

// The scheme whose kernels run: rounding and smoothing are done before.
const SpeedCell* speed_of(const std::vector<const SpeedCell*>& cells, const QualityRow& row) {
  const auto find = [&](const std::string& scheme) -> const SpeedCell* {
    const auto found = std::ranges::find_if(cells, [&](const auto* c) { return c->row.scheme == scheme; });
    return found == cells.end() ? nullptr : *found;
  };
  if (is_baseline(row) || is_half(row.scheme)) {
    const auto half = std::ranges::find_if(cells, [](const auto* c) { return is_half(c->row.scheme); });
    return half == cells.end() ? nullptr : *half;
  }
  for (const std::string& name : {row.scheme, row.runs_as}) {
    const std::string plain = name.substr(0, name.find('+'));  // fp8+gptq
    if (const auto* cell = find(plain)) return cell;
    if (plain != "int8" && plain != "int8-minmax") continue;
    for (const char* same : {"int8-minmax", "int8"})
      if (const auto* cell = find(same)) return cell;
  }
  return nullptr;
}

void mark_front(std::vector<FigurePoint>& points) {
  for (FigurePoint& p : points) {
    p.on_front = std::ranges::none_of(
        points, [&](const FigurePoint& q) { return q.x >= p.x && q.y <= p.y && (q.x > p.x || q.y < p.y); });
  }
}

double loss_of(const QualityRow& row) {
  return row.kl.has_value() ? row.kl->value : is_baseline(row) ? 0 : -1;
}

// Rows with the speed of their kernels, and no row without a loss.
struct Joined {
  const QualityRow* row = nullptr;
  const SpeedCell* cell = nullptr;
};
std::vector<Joined> join(const std::vector<const SpeedCell*>& cells, const Rows& rows) {
  std::vector<Joined> joined;
  for (const QualityRow& row : rows) {
    const SpeedCell* cell = speed_of(cells, row);
    if (cell != nullptr && loss_of(row) >= 0) joined.push_back({&row, cell});
  }
  return joined;
}

// One workload's speeds against one model's losses. Roundings of a scheme that neither bear its name nor are
// the best that runs so fast stand in the table alone.
void add_picture(const std::vector<Joined>& joined, const std::string& id, const std::string& workload,
                 ReportSection& section, ReportTable& table, Study& study) {
  std::vector<FigurePoint> points;
  for (const auto& [row, cell] : joined) {
    points.push_back({is_baseline(*row) ? cell->row.scheme : row->scheme, "", *cell->row.output_tok_s,
                      loss_of(*row), row->kl.has_value() ? row->kl->error : 0, false});
  }
  mark_front(points);
  const SpeedRow& speed = joined.front().cell->row;
  const std::string& model = joined.front().row->model;
  Figure figure;
  figure.kind = Figure::Kind::kPoints;
  figure.id = id;
  figure.caption = fmt::format("Speed against quality, {}, max batch {}", workload, speed.max_batch);
  figure.x_title = fmt::format("output tokens a second, {} on {}", speed.model, speed.device);
  figure.y_title = fmt::format("KL from 16 bit, nats, {}", model);
  for (size_t i = 0; i < points.size(); ++i) {
    FigurePoint& p = points[i];
    table.rows.push_back({p.name, workload, model, fmt::format("{:.1f}", p.x), fmt::format("{:.5f}", p.y),
                          p.on_front ? "yes" : ""});
    if (!p.on_front && p.name != joined[i].cell->row.scheme) continue;
    p.color = figure_color(figure.points.size());
    figure.points.push_back(p);
  }
  add_figure(study, section, std::move(figure));
}

void add_pictures(const Rows& rows, const std::set<std::string>& tasks, const std::string& suffix,
                  ReportSection& section, Study& study) {
  const auto add = [&](Figure figure, const std::string& id, const std::string& caption, const char* unit) {
    if (figure.places.empty()) return;
    figure.id = id + suffix;
    figure.caption = caption + ": " + rows.front().model;
    figure.y_title = unit;
    add_figure(study, section, std::move(figure));
  };
  const auto percent = [](const Measured& m) { return Value(Measured{100 * m.value, 100 * m.error}); };
  add(scheme_bars(rows,
                  [&](const QualityRow& r) {
                    return is_baseline(r) || !r.over_baseline.has_value() ? Value()
                                                                          : percent(*r.over_baseline);
                  }),
      "quality-perplexity", "Perplexity over the 16-bit model", "more than 16 bit, %");
  add(scheme_bars(rows, [](const QualityRow& r) { return is_baseline(r) ? Value() : r.kl; }), "quality-kl",
      "KL divergence from the 16-bit model", "nats a token");
  for (const auto& task : tasks) {
    add(scheme_bars(rows,
                    [&](const QualityRow& r) {
                      return r.accuracy.contains(task) ? percent(r.accuracy.at(task)) : Value();
                    }),
        "quality-" + slug(task), "Accuracy, " + task, "%");
  }
}

}  // namespace

void add_quality(const Results& results, Study& study) {
  const Rows& rows = results.qualities;
  if (rows.empty()) {
    study.missing.push_back(
        {"Quality by scheme", "octet eval compare MODEL --schemes all --data TEXT --output quality.json"});
    return;
  }
  ReportSection section;
  section.title = "Quality by scheme";
  std::set<std::string> tasks;
  for (const QualityRow& r : rows)
    for (const auto& [task, value] : r.accuracy) tasks.insert(task);
  const auto models = distinct(rows, [](const QualityRow& r) { return r.model; });
  for (const auto& model : models) {
    const Rows own = rows_of(rows, model);
    if (models.size() == 1 || own.size() > kSchemesOfAPicture)
      add_pictures(own, tasks, models.size() == 1 ? "" : "-" + slug(model), section, study);
  }
  section.tables = {quality_table(rows, tasks)};
  study.sections.push_back(std::move(section));
}

void add_trade(const Results& results, const std::vector<SpeedCell>& all, Study& study) {
  ReportSection section;
  section.title = "Speed against quality";
  section.paragraphs = {
      "Right and low is better; the dotted line joins the schemes that no other one beats in both. A "
      "scheme's speed is that of the kernels it "
      "runs: smoothing and rounding are done before."};
  ReportTable table{"Speed and quality joined",
                    {"scheme", "workload", "quality of", "output tok/s", "KL, nats a token", "on the line"},
                    {},
                    "speed-quality"};
  std::set<std::tuple<std::string, std::string, int32_t, int32_t>> kinds;
  const auto usable = [](const SpeedRow& r) {
    return r.engine == "octet" && r.rate == 0 && is_half(r.kv_dtype) && !r.quantized_head &&
           r.output_tok_s.has_value();
  };
  for (const SpeedCell& c : all)
    if (usable(c.row)) kinds.insert({c.row.device, c.row.model, c.row.input_len, c.row.output_len});
  std::vector<Rows> by_model;
  for (const auto& model : distinct(results.qualities, [](const QualityRow& r) { return r.model; }))
    by_model.push_back(rows_of(results.qualities, model));
  for (const auto& [device, model, input, output] : kinds) {
    std::vector<const SpeedCell*> cells;
    for (const SpeedCell& c : all)
      if (usable(c.row) && std::tuple(c.row.device, c.row.model, c.row.input_len, c.row.output_len) ==
                               std::tuple(device, model, input, output))
        cells.push_back(&c);
    int32_t largest = 0;
    for (const auto* c : cells) largest = std::max(largest, c->row.max_batch);
    std::erase_if(cells, [&](const auto* c) { return c->row.max_batch != largest; });
    std::vector<Joined> best;  // of the model that has most of these schemes
    for (const auto& rows : by_model) {
      if (auto joined = join(cells, rows); joined.size() > best.size()) best = std::move(joined);
    }
    if (best.size() > 1) {
      add_picture(best, fmt::format("speed-quality-{}", section.charts.size() + 1),
                  fmt::format("{}/{}", input, output), section, table, study);
    }
  }
  if (!section.charts.empty()) {
    section.tables = {table};
    study.sections.push_back(std::move(section));
  } else {
    study.missing.push_back(
        {"Speed against quality", "the two commands for throughput and for quality, with the same schemes"});
  }
}

}  // namespace octet
