// Throughput, time to first token, static against dynamic scales.
#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "report/study_parts.h"

namespace octet {
namespace {

struct Lengths {
  int32_t input = 0, output = 0;
  bool operator==(const Lengths&) const = default;
  std::string text() const { return fmt::format("{}/{}", input, output); }
  std::string title() const {
    const char* kind = input > output ? "prefill-heavy" : input < output ? "decode-heavy" : "balanced";
    return fmt::format("{} ({} tokens in, {} out)", kind, input, output);
  }
};

Lengths lengths_of(const SpeedRow& row) {
  return {row.input_len, row.output_len};
}

using Cells = std::vector<const SpeedCell*>;

template <typename Keep>
Cells filter(const std::vector<SpeedCell>& cells, const Keep& keep) {
  Cells kept;
  for (const SpeedCell& cell : cells)
    if (keep(cell.row)) kept.push_back(&cell);
  return kept;
}

std::vector<Setting> settings(const Cells& cells) {
  std::vector<SpeedRow> rows;
  for (const SpeedCell* cell : cells) rows.push_back(cell->row);
  return settings_of(rows);
}

Cells in_setting(const Cells& cells, const Setting& setting) {
  Cells kept;
  std::ranges::copy_if(cells, std::back_inserter(kept), [&](const SpeedCell* c) {
    return c->row.device == setting.device && c->row.model == setting.model;
  });
  return kept;
}

std::vector<Lengths> workloads(const Cells& cells) {
  std::vector<Lengths> all;
  for (const SpeedCell* cell : cells)
    if (std::ranges::find(all, lengths_of(cell->row)) == all.end()) all.push_back(lengths_of(cell->row));
  std::ranges::stable_sort(all, {},
                           [](const Lengths& l) { return l.output - l.input; });  // prefill-heavy first
  return all;
}

const SpeedCell* find(const Cells& cells, const auto& is) {
  const auto found = std::ranges::find_if(cells, [&](const SpeedCell* c) { return is(c->row); });
  return found == cells.end() ? nullptr : *found;
}

// The 16-bit run beside a cell: same engine, batch and lengths, a cache of 16 bits.
const SpeedCell* half_beside(const Cells& cells, const SpeedRow& row) {
  return find(cells, [&](const SpeedRow& r) {
    return is_half(r.scheme) && is_half(r.kv_dtype) && !r.quantized_head && r.engine == row.engine &&
           r.max_batch == row.max_batch && lengths_of(r) == lengths_of(row) && r.rate == row.rate;
  });
}

std::string family(const std::string& scheme) {
  return scheme.substr(0, scheme.find('-'));
}

// Another engine's run that does the same: fp8 beside fp8, an 8-bit cache beside one of the same type.
const SpeedCell* rival_of(const Cells& cells, const SpeedRow& row) {
  if (row.engine != "octet") return nullptr;
  return find(cells, [&](const SpeedRow& r) {
    const bool same_cache = is_half(row.kv_dtype) ? is_half(r.kv_dtype) : r.kv_dtype == row.kv_dtype;
    return r.engine != "octet" && family(r.scheme) == family(row.scheme) && same_cache &&
           r.max_batch == row.max_batch && lengths_of(r) == lengths_of(row) && r.rate == row.rate;
  });
}

std::optional<double> ratio(const SpeedCell& cell, const SpeedCell* other) {
  if (other == nullptr || !cell.row.output_tok_s.has_value() || !(other->row.output_tok_s.value_or(0) > 0))
    return std::nullopt;
  return *cell.row.output_tok_s / *other->row.output_tok_s;
}

// Bars by max batch, a series for each scheme, cache and engine.
template <typename Value>
Figure batch_bars(const Cells& cells, const Value& value) {
  Figure figure;
  figure.x_title = "max batch";
  std::set<int32_t> batches;
  std::vector<std::string> variants;  // one colour each, for all engines
  for (const SpeedCell* cell : cells) batches.insert(cell->row.max_batch);
  for (const int32_t batch : batches) figure.places.push_back(std::to_string(batch));
  for (const SpeedCell* cell : cells) {
    const std::optional<double> y = value(*cell);
    if (!y.has_value()) continue;
    const std::string name = series_name(cell->row), variant = family(cell->row.scheme) + cell->row.kv_dtype;
    auto series = std::ranges::find(figure.series, name, &FigureSeries::name);
    if (series == figure.series.end()) {
      const bool octet = cell->row.engine == "octet";
      auto color = octet ? variants.end() : std::ranges::find(variants, variant);
      if (color == variants.end()) color = variants.insert(variants.end(), variant);
      figure.series.push_back({name,
                               figure_color(static_cast<size_t>(color - variants.begin())),
                               !octet,
                               std::vector<std::optional<double>>(batches.size()),
                               {}});
      series = figure.series.end() - 1;
    }
    const auto place = static_cast<size_t>(std::distance(batches.begin(), batches.find(cell->row.max_batch)));
    series->values[place] = y;
    if (!cell->limit.has_value()) continue;
    series->limits.resize(batches.size());
    series->limits[place] = cell->limit;
  }
  return figure;
}

std::string share_of_limit(const SpeedCell& cell) {
  const double limit = cell.limit.value_or(0);
  return limit > 0 ? fmt::format("{:.0f} %", 100 * cell.row.output_tok_s.value_or(0) / limit) : "";
}

ReportTable throughput_table(const Cells& cells) {
  ReportTable table;
  table.caption = "Output tokens a second (medians), beside 16 bit, the other engine, and the limit";
  table.header = {"scheme",      "engine",         "max batch", "output tok/s", "spread",
                  "over 16 bit", "over the other", "limit",     "of the limit"};
  for (const SpeedCell* c : cells) {
    const auto over = ratio(*c, half_beside(cells, c->row)), rival = ratio(*c, rival_of(cells, c->row));
    const auto times = [](const std::optional<double>& x) {
      return x.has_value() ? fmt::format("{:.2f}x", x.value_or(0)) : "";
    };
    table.rows.push_back({variant_name(c->row), c->row.engine, std::to_string(c->row.max_batch),
                          cell_text(c->row.output_tok_s, 1), times(c->spread), times(over), times(rival),
                          cell_text(c->limit, 0), share_of_limit(*c)});
  }
  return table;
}

void add_workload(const Cells& cells, const Lengths& lengths, const Setting& setting, Study& study) {
  ReportSection section;
  section.title = "Throughput, " + lengths.title() + setting.suffix;
  const std::string id = fmt::format("{}-{}{}", lengths.input, lengths.output, setting.id);
  const bool limits = std::ranges::any_of(cells, [](const auto* c) { return c->limit.has_value(); });
  if (limits) {
    section.paragraphs = {
        "Outlines are limits: each weight and each byte of the cache read once a step, products, and nothing "
        "else, all at the best rates measured on such a device."};
  }
  Figure figure = batch_bars(cells, [](const SpeedCell& c) { return c.row.output_tok_s; });
  figure.id = "throughput-" + id;
  figure.caption = fmt::format("Throughput by scheme and max batch, {}", lengths.title());
  figure.y_title = "output tokens a second";
  add_figure(study, section, figure);

  Figure gain = batch_bars(cells, [&](const SpeedCell& c) {
    const auto over = ratio(c, half_beside(cells, c.row));
    return over.has_value() && !(is_half(c.row.scheme) && is_half(c.row.kv_dtype))
               ? std::optional(100 * (*over - 1))
               : std::nullopt;
  });
  if (!gain.series.empty()) {
    for (FigureSeries& s : gain.series) {
      s.limits.clear();
      s.color = std::ranges::find(figure.series, s.name, &FigureSeries::name)->color;
    }
    gain.id = "gain-" + id;
    gain.caption = fmt::format("Throughput over the same engine in 16 bits, {}", lengths.title());
    gain.y_title = "more than 16 bit, %";
    add_figure(study, section, gain);
  }
  section.tables = {throughput_table(cells)};
  section.tables.back().id = "throughput-" + id;
  study.sections.push_back(std::move(section));
}

void say_missing(bool missing, const char* what, const char* options, Study& study) {
  if (missing)
    study.missing.push_back({what, fmt::format("octet bench sweep MODEL {} --output sweep.jsonl", options)});
}

}  // namespace

void add_throughput(const std::vector<SpeedCell>& all, Study& study) {
  const Cells cells =
      filter(all, [](const SpeedRow& r) { return r.rate == 0 && r.output_tok_s.has_value(); });
  for (const Setting& setting : settings(cells)) {
    const Cells here = in_setting(cells, setting);
    for (const Lengths& lengths : workloads(here)) {
      Cells of_workload;
      std::ranges::copy_if(here, std::back_inserter(of_workload),
                           [&](const auto* c) { return lengths_of(c->row) == lengths; });
      add_workload(of_workload, lengths, setting, study);
    }
  }
  const auto none = [&](const auto& is) {
    return !std::ranges::any_of(cells, [&](const auto* c) { return is(c->row); });
  };
  say_missing(none([](const SpeedRow& r) { return r.input_len > r.output_len; }), "Throughput, prefill-heavy",
              "--schemes bf16,int8-minmax,fp8 --workloads 2048/128", study);
  say_missing(none([](const SpeedRow& r) { return r.input_len < r.output_len; }), "Throughput, decode-heavy",
              "--schemes bf16,int8-minmax,fp8 --workloads 128/2048", study);
}

void add_static_against_dynamic(const std::vector<SpeedCell>& all, Study& study) {
  const Cells cells = filter(all, [](const SpeedRow& r) {
    return r.rate == 0 && r.engine == "octet" && r.output_tok_s.has_value();
  });
  bool found = false;
  for (const Setting& setting : settings(cells)) {
    const Cells here = in_setting(cells, setting);
    ReportTable table{"Static scales against dynamic ones, output tokens a second",
                      {"workload", "KV cache", "max batch", "fp8", "fp8-static", "static over dynamic"},
                      {},
                      "fp8-static" + setting.id};
    std::vector<SpeedCell> gains;
    SpeedRow last;
    for (const SpeedCell* c : here) {
      if (c->row.scheme != "fp8-static") continue;
      const auto beside = [&](const SpeedRow& r) {
        return r.kv_dtype == c->row.kv_dtype && r.quantized_head == c->row.quantized_head &&
               r.max_batch == c->row.max_batch && lengths_of(r) == lengths_of(c->row);
      };
      const SpeedCell* dynamic = find(here, [&](const SpeedRow& r) {
        return r.scheme == "fp8" && beside(r) && r.requests == c->row.requests;
      });
      const auto over = ratio(*c, dynamic);
      if (!over.has_value() || beside(last)) continue;  // the last one: of more requests
      last = c->row;
      gains.push_back({c->row, {}, {}});
      gains.back().row.scheme = lengths_of(c->row).text();  // what the bars are named by
      gains.back().row.output_tok_s = 100 * (*over - 1);
      table.rows.push_back({lengths_of(c->row).text(), c->row.kv_dtype, std::to_string(c->row.max_batch),
                            cell_text(dynamic->row.output_tok_s, 1), cell_text(c->row.output_tok_s, 1),
                            fmt::format("{:.3f}x", *over)});
    }
    if (gains.empty()) continue;
    found = true;
    Figure figure = batch_bars(filter(gains, [](const SpeedRow&) { return true; }),
                               [](const SpeedCell& c) { return c.row.output_tok_s; });
    figure.id = table.id;
    figure.caption = "FP8 with static scales over FP8 with dynamic ones, by max batch";
    figure.y_title = "faster with static scales, %";
    ReportSection section{"Static against dynamic FP8" + setting.suffix, {}, {}, {table}};
    add_figure(study, section, figure);
    study.sections.push_back(std::move(section));
  }
  say_missing(!found, "Static against dynamic FP8", "--schemes fp8,fp8-static", study);
}

void add_first_token(const std::vector<SpeedCell>& all, Study& study) {
  const Cells cells = filter(all, [](const SpeedRow& r) { return r.rate > 0 && r.ttft_p50.has_value(); });
  for (const Setting& setting : settings(cells)) {
    const Cells here = in_setting(cells, setting);
    std::set<std::tuple<double, int32_t, int32_t>> kinds;
    for (const SpeedCell* c : here) kinds.insert({c->row.rate, c->row.input_len, c->row.output_len});
    for (const auto& [rate, input, output] : kinds) {
      const Lengths lengths{input, output};
      Cells group;
      std::ranges::copy_if(here, std::back_inserter(group), [&](const auto* c) {
        return c->row.rate == rate && lengths_of(c->row) == lengths;
      });
      ReportTable table{"Time to first token and between tokens (medians of the runs), ms",
                        {"scheme", "engine", "max batch", "TTFT p50", "TTFT p99", "TPOT p50"},
                        {},
                        fmt::format("first-token-rate-{}-{}-{}{}", rate, input, output, setting.id)};
      for (const SpeedCell* c : group) {
        table.rows.push_back({variant_name(c->row), c->row.engine, std::to_string(c->row.max_batch),
                              cell_text(c->row.ttft_p50, 1), cell_text(c->row.ttft_p99, 1),
                              cell_text(c->row.tpot_p50, 2)});
      }
      Figure figure = batch_bars(group, [](const SpeedCell& c) { return c.row.ttft_p50; });
      figure.id = table.id;
      figure.caption = fmt::format("Time to first token at {} requests a second, {}", rate, lengths.title());
      figure.y_title = "TTFT p50, ms";
      ReportSection section{fmt::format("Time to first token, {} requests a second, {}{}", rate,
                                        lengths.text(), setting.suffix),
                            {},
                            {},
                            {table}};
      add_figure(study, section, figure);
      study.sections.push_back(std::move(section));
    }
  }
  say_missing(cells.empty(), "Time to first token at 4 requests a second",
              "--schemes bf16,int8-minmax,fp8 --workloads 2048/128 --rates 4", study);
}

}  // namespace octet
