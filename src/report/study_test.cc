#include "report/study.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "report/results_for_test.h"

namespace octet {
namespace {

std::optional<ModelShape> shape_of(const std::string& model) {
  if (model != "llama-3.1-8b") return std::nullopt;
  return ModelShape{6.979e9, 0.5253e9, 65536, 131072};
}

Study study_of(const std::vector<std::string>& texts) {
  Results results;
  for (const auto& text : texts) {
    const Status status = read_result("file", text, results);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return make_study(results, shape_of);
}

const Figure& figure(const Study& study, const std::string& id) {
  const auto found = std::ranges::find(study.figures, id, &Figure::id);
  if (found != study.figures.end()) return *found;
  ADD_FAILURE() << "no figure " << id;
  static const Figure kNone;
  return kNone;
}

const FigureSeries& series(const Figure& figure, const std::string& name) {
  const auto found = std::ranges::find(figure.series, name, &FigureSeries::name);
  if (found != figure.series.end()) return *found;
  ADD_FAILURE() << "no series " << name << " in " << figure.id;
  static const FigureSeries kNone{"", "", false, {1, 1, 1, 1}, {1, 1, 1, 1}, {}};
  return kNone;
}

const ReportTable& table(const Study& study, const std::string& id) {
  for (const auto& section : study.sections)
    for (const auto& t : section.tables)
      if (t.id == id) return t;
  ADD_FAILURE() << "no table " << id;
  static const ReportTable kNone;
  return kNone;
}

TEST(Study, ThroughputHasMediansLimitsAndTheOtherEngine) {
  const Study study = study_of({sweep_text(), rival_text()});
  const Figure& f = figure(study, "throughput-2048-128");
  EXPECT_EQ(f.places, (std::vector<std::string>{"1", "64"}));
  EXPECT_EQ(series(f, "fp8").values[1], 160 * 64);  // the median of 150, 160 and 170
  EXPECT_NEAR(series(f, "bf16").limits[0].value_or(0), 190.5, 1);
  EXPECT_FALSE(series(f, "vLLM 0.26.0: fp8").values[0].has_value());
  EXPECT_TRUE(series(f, "vLLM 0.26.0: fp8").hatched);
  EXPECT_EQ(series(f, "vLLM 0.26.0: fp8").color, series(f, "fp8").color);
  EXPECT_NEAR(*series(figure(study, "gain-2048-128"), "fp8").values[0], 60, 1e-9);
  const auto& rows = table(study, "throughput-2048-128").rows;
  const std::vector<std::string> expected = {"fp8", "octet", "64", "10240.0", "1.13x", "1.60x", "1.28x"};
  EXPECT_TRUE(std::ranges::any_of(
      rows, [&](const auto& row) { return std::equal(expected.begin(), expected.end(), row.begin()); }));
  EXPECT_EQ(figure(study, "throughput-128-2048").series.at(0).name, "int8-minmax + KV int8");
}

TEST(Study, StaticAgainstDynamicAndFirstTokens) {
  const Study study = study_of({sweep_text(), rival_text()});
  EXPECT_NEAR(*series(figure(study, "fp8-static"), "2048/128").values[1], 5, 1e-9);
  const Figure& f = figure(study, "first-token-rate-4-2048-128");
  EXPECT_EQ(series(f, "bf16").values[0], 60);
  EXPECT_EQ(series(f, "vLLM 0.26.0: bf16").values[1], 63);
}

// Runs of a cell count where they are of the most requests; schemes are compared over as many.
TEST(Study, RunsOfFewerRequestsAreNotMixedIn) {
  std::string text;
  const auto add = [&](const char* scheme, int requests, double tok_s) {
    nlohmann::json row = speed_json(scheme, "bf16", 2048, 128, 64, 0, tok_s);
    row["requests"] = requests;
    text += row.dump() + "\n";
  };
  add("fp8", 64, 1000);
  add("fp8-static", 64, 1040);
  add("fp8-static", 128, 1200);
  const Study study = study_of({text});
  EXPECT_EQ(series(figure(study, "throughput-2048-128"), "fp8-static").values[0], 1200);
  EXPECT_EQ(series(figure(study, "throughput-2048-128"), "fp8").values[0], 1000);
  EXPECT_NEAR(*series(figure(study, "fp8-static"), "2048/128").values[0], 4, 1e-9);
}

TEST(Study, StepsByBatchAndByContext) {
  const Study study = study_of({profile_text()});
  const Figure& shares = figure(study, "step-shares");
  EXPECT_EQ(shares.groups, (std::vector<std::string>{"bf16", "bf16", "int8-minmax", "int8-minmax"}));
  EXPECT_EQ(shares.places, (std::vector<std::string>{"1", "64", "1", "64"}));
  EXPECT_NEAR(*series(shares, "linear layers").values[0], 50, 1e-9);
  EXPECT_NEAR(*series(shares, "attention").values[3], 40, 1e-9);
  const Figure& breakdown = figure(study, "step-breakdown");
  EXPECT_EQ(breakdown.places, (std::vector<std::string>{"128", "2048", "128", "2048"}));
  EXPECT_NEAR(*series(breakdown, "norms, activations, the rest").values[0], 0.1, 1e-9);
}

TEST(Study, QualityAndTheTradeForIt) {
  const Study study = study_of({sweep_text(), quality_text()});
  const Figure& loss = figure(study, "quality-perplexity");
  EXPECT_EQ(loss.places, (std::vector<std::string>{"fp8", "fp8+gptq"}));
  EXPECT_NEAR(*series(loss, "a model").values[0], 2, 1e-9);
  EXPECT_NEAR(*series(figure(study, "quality-mmlu"), "a model").values[0], 50, 1e-9);
  const auto trade = std::ranges::find(study.figures, Figure::Kind::kPoints, &Figure::kind);
  ASSERT_NE(trade, study.figures.end());
  ASSERT_EQ(trade->points.size(), 3u);
  EXPECT_EQ(trade->points[0].name, "bf16");
  EXPECT_EQ(trade->points[2].name, "fp8+gptq");
  EXPECT_EQ(trade->points[2].x, trade->points[1].x);  // the same kernels
  EXPECT_TRUE(trade->points[0].on_front && trade->points[2].on_front);
  EXPECT_FALSE(trade->points[1].on_front);
}

TEST(Study, WhatHasNoResultsSaysWhatMakesThem) {
  const Study study = study_of({quality_text()});
  ASSERT_EQ(study.missing.size(), 6u);
  EXPECT_EQ(study.missing[0].what, "Throughput, prefill-heavy");
  EXPECT_NE(study.missing[0].command.find("octet bench sweep MODEL"), std::string::npos);
  const std::string html = render_html(study_page(study, {}, "octet report x -o y"));
  EXPECT_NE(html.find("octet profile MODEL"), std::string::npos);
}

TEST(Study, ThePageHasEveryPictureAndTable) {
  Results results;
  for (const auto& text : {sweep_text(), profile_text(), quality_text(), rival_text()})
    ASSERT_TRUE(read_result("file", text, results).ok());
  const Study study = make_study(results, shape_of);
  EXPECT_EQ(std::ranges::count_if(study.missing, [](const auto&) { return true; }), 0);
  const std::string html = render_html(study_page(study, results, "octet report"));
  std::vector<std::string> ids;
  for (const Figure& f : study.figures) {
    EXPECT_NE(html.find("Plotly.newPlot(\"" + f.id + "\""), std::string::npos) << f.id;
    ids.push_back(f.id);
  }
  for (const auto& section : study.sections)
    for (const auto& t : section.tables) EXPECT_FALSE(t.id.empty()) << t.caption;
  std::ranges::sort(ids);
  EXPECT_EQ(std::ranges::adjacent_find(ids), ids.end());  // each is a file of its own
  EXPECT_GE(ids.size(), 9u);
}

}  // namespace
}  // namespace octet
