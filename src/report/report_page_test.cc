#include "report/report_page.h"

#include <gtest/gtest.h>

#include "report/plotly.h"

namespace octet {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

TEST(Plotly, IsTheWholeLibrary) {
  const auto js = plotly_js();
  ASSERT_GT(js.size(), size_t{1} << 20);
  EXPECT_NE(js.substr(0, 200).find("plotly.js"), std::string_view::npos);
  EXPECT_NE(js.find("newPlot"), std::string_view::npos);
  EXPECT_EQ(js.find("</script"), std::string_view::npos);  // it stands inside a script element
}

TEST(ReportPage, TextIsEscapedEverywhere) {
  ReportPage page;
  page.title = "a < b & \"c\"";
  page.paragraphs = {"<i>plain</i>"};
  page.tables = {{"<caption>", {"name", "value"}, {{"<td>", "1"}}}};
  ReportChart chart;
  chart.caption = "x<y";
  chart.traces.push_back({{"name", "</script><script>alert(1)"}});
  page.charts = {chart};
  page.command = "octet eval compare <model>";
  const std::string html = render_html(page);
  EXPECT_NE(html.find("<title>a &lt; b &amp; &quot;c&quot;</title>"), std::string::npos);
  EXPECT_NE(html.find("<td>&lt;td&gt;</td>"), std::string::npos);
  EXPECT_EQ(html.find("alert(1)\"></"), std::string::npos);
  EXPECT_EQ(count(html, "<script>"), 3u);  // the library, the one chart, and its colours
  EXPECT_EQ(count(html, "</script>"), 3u);
  EXPECT_NE(html.find("\\u003c/script>\\u003cscript>alert(1)"), std::string::npos);
}

TEST(ReportPage, LoadsNothingFromElsewhere) {
  ReportPage page;
  page.title = "t";
  const std::string html = render_html(page);
  for (const char* word : {" src=", "<link", "@import", "http:"})
    EXPECT_EQ(html.find(word), std::string::npos) << word;
  EXPECT_EQ(html.find("Plotly"), std::string::npos);  // no charts: no library either
}

TEST(ReportPage, LongTablesComeFoldedAfterTheCharts) {
  ReportPage page;
  page.tables = {{"long", {"a", "b"}, std::vector<std::vector<std::string>>(41, {"1", std::string(40, 'x')})},
                 {"short", {"a"}, {{"1"}}}};
  page.charts = {ReportChart{"chart"}};
  const std::string html = render_html(page);
  EXPECT_LT(html.find("<caption>short"), html.find("<figcaption>chart"));
  EXPECT_LT(html.find("<figcaption>chart"), html.find("<details><summary>long"));
  EXPECT_EQ(count(html, "<td class=\"words\">"), 41u);
}

TEST(ReportPage, AChartsOwnLayoutGoesOverTheDefaults) {
  ReportPage page;
  ReportChart chart;
  chart.layout = {{"yaxis", {{"title", {{"text", "nats"}}}}}};
  page.charts = {chart};
  const std::string html = render_html(page);
  EXPECT_NE(html.find(R"("yaxis":{"automargin":true,"gridcolor":"#e6eaee","title":{"text":"nats"}})"),
            std::string::npos);
}

}  // namespace
}  // namespace octet
