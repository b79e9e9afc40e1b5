#include "report/figure.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

Figure bars() {
  Figure f;
  f.id = "id";
  f.caption = "a < b";
  f.places = {"1", "16"};
  f.series = {{"bf16", "#111111", false, {10, 20}, {15, 30}, {}},
              {"fp8", "#222222", true, {std::nullopt, 25}, {}, {0, 3}}};
  return f;
}

TEST(Figure, BarsStandSideBySide) {
  const auto boxes = bar_boxes(bars());
  ASSERT_EQ(boxes.size(), 3u);
  EXPECT_DOUBLE_EQ(boxes[0].center, -0.2);
  EXPECT_DOUBLE_EQ(boxes[1].center, 0.8);
  EXPECT_DOUBLE_EQ(boxes[2].center, 1.2);
  EXPECT_DOUBLE_EQ(boxes[2].width, 0.4);
  EXPECT_EQ(boxes[1].limit, 30);
  EXPECT_FALSE(boxes[2].limit.has_value());
}

TEST(Figure, BarsStandOneUponTheOther) {
  Figure f = bars();
  f.kind = Figure::Kind::kStackedBars;
  f.groups = {"a", "b"};
  const auto boxes = bar_boxes(f);
  EXPECT_DOUBLE_EQ(boxes[2].from, 20);
  EXPECT_DOUBLE_EQ(boxes[2].to, 45);
  EXPECT_DOUBLE_EQ(boxes[2].center, 1.6);  // a gap between groups
  ASSERT_EQ(group_labels(f).size(), 2u);
  EXPECT_DOUBLE_EQ(group_labels(f)[1].center, 1.6);
}

TEST(Figure, TicksAreRoundAndCoverTheRange) {
  EXPECT_EQ(round_ticks(0, 42, 5), (std::vector<double>{0, 10, 20, 30, 40, 50}));
  EXPECT_EQ(round_ticks(-3, 10, 5).front(), -5);
  EXPECT_EQ(round_ticks(0, 0, 5).back(), 1);
}

TEST(Figure, TheChartHasBarsAndOutlines) {
  const ReportChart chart = to_chart(bars());
  ASSERT_EQ(chart.traces.size(), 3u);  // two series, and the limits of one
  EXPECT_EQ(chart.traces[0]["y"], (nlohmann::ordered_json{10.0, 20.0}));
  EXPECT_EQ(chart.traces[1]["y"], (nlohmann::ordered_json{15.0, 30.0}));
  EXPECT_EQ(chart.traces[2]["y"], (nlohmann::ordered_json::array({25.0})));
  EXPECT_TRUE(chart.traces[2]["marker"].contains("pattern"));
  EXPECT_EQ(chart.traces[2]["error_y"]["array"], (nlohmann::ordered_json::array({3.0})));
  EXPECT_FALSE(chart.traces[0].contains("error_y"));
}

TEST(Figure, TheFileHasBarsAndOutlines) {
  const std::string svg = to_svg(bars());
  EXPECT_EQ(count(svg, "fill=\"#111111\""), 3u);    // two bars, and one in the legend
  EXPECT_EQ(count(svg, "stroke=\"#111111\""), 2u);  // their limits
  EXPECT_EQ(count(svg, "url(#hatch1)"), 2u);
  EXPECT_EQ(count(svg, "<line stroke=\"#8b949e\""), 1u);  // the one error
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_TRUE(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
}

TEST(Figure, LongNamesOfGroupsTakeTwoLines) {
  Figure f;
  f.kind = Figure::Kind::kStackedBars;
  f.series = {{"all", "#111111", false, {}, {}, {}}};
  const auto add = [&](const std::string& group) {
    for (const char* place : {"128", "8192"}) {
      f.places.emplace_back(place);
      f.groups.push_back(group);
      f.series[0].values.emplace_back(1.0);
    }
  };
  add("int8-minmax + KV int8");
  EXPECT_NE(to_svg(f).find(">int8-minmax + KV int8<"), std::string::npos);
  for (const char* group : {"bf16", "fp8", "fp8-static + KV fp8", "int8-minmax"}) add(group);
  const std::string svg = to_svg(f);
  EXPECT_NE(svg.find(">int8-minmax<"), std::string::npos);
  EXPECT_EQ(count(svg, ">+ KV int8<"), 1u);
  EXPECT_EQ(count(svg, ">+ KV fp8<"), 1u);
  const std::string page = to_chart(f).layout["annotations"].dump();
  EXPECT_NE(page.find("<b>int8-minmax<br>+ KV int8</b>"), std::string::npos) << page;
}

// Upright where they fit, else above the names of groups; in a page that is as wide as that needs.
TEST(Figure, NamesBelowGroupsDoNotOverlap) {
  const auto figure = [](const std::vector<const char*>& places) {
    Figure f;
    f.kind = Figure::Kind::kStackedBars;
    f.series = {{"all", "#111111", false, {}, {}, {}}};
    for (const char* group : {"a", "b", "c", "d", "e"}) {
      for (const char* place : places) {
        f.places.emplace_back(place);
        f.groups.emplace_back(group);
        f.series[0].values.emplace_back(1.0);
      }
    }
    return f;
  };
  const ReportChart few = to_chart(figure({"1", "16"}));
  EXPECT_EQ(few.min_width, 0);
  EXPECT_EQ(few.layout["xaxis"]["tickangle"], 0);
  const ReportChart fit = to_chart(figure({"128", "1024", "2048", "8192"}));
  EXPECT_GE(fit.min_width, kPlotWidth);
  EXPECT_EQ(fit.layout["xaxis"]["tickangle"], 0);
  const Figure many = figure({"128", "256", "512", "1024", "2048", "4096", "8192"});
  EXPECT_EQ(to_chart(many).layout["xaxis"]["tickangle"], -50);
  EXPECT_GT(group_label_offset(many), 50);
  const double below = -to_chart(many).layout["annotations"][0]["yshift"].get<double>();
  EXPECT_GT(below, -few.layout["annotations"][0]["yshift"].get<double>() + 15);
}

TEST(Figure, PointsAreJoinedByTheFront) {
  Figure f;
  f.kind = Figure::Kind::kPoints;
  f.points = {
      {"slow", "#111", 1, 0, 0, true}, {"bad", "#222", 1, 9, 1, false}, {"fast", "#333", 5, 2, 0, true}};
  const std::string svg = to_svg(f);
  EXPECT_EQ(count(svg, "<circle"), 3u);
  EXPECT_EQ(count(svg, "<polyline"), 1u);
  EXPECT_EQ(to_chart(f).traces[0]["x"], (nlohmann::ordered_json{1.0, 5.0}));
}

TEST(Table, AsCsvIsQuotedWhereItMustBe) {
  const ReportTable table{"caption", {"name", "value"}, {{"a, \"b\"", "1"}, {"c", ""}}, "id"};
  EXPECT_EQ(to_csv(table), "name,value\r\n\"a, \"\"b\"\"\",1\r\nc,\r\n");
}

}  // namespace
}  // namespace octet
