#include "report/report_page.h"

#include "report/plotly.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

constexpr const char* kStyle = R"(
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .5rem; }
figure { margin: 2rem 0; }
figcaption, caption { text-align: left; font-weight: 600; padding-bottom: .4rem; caption-side: top; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .8rem; border-bottom: 1px solid #d8dee4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
pre { background: #f3f5f7; padding: .6rem .8rem; overflow-x: auto; }
)";

// Defaults of every chart; what a chart's own layout says is laid over them.
ordered_json base_layout(int height) {
  return {{"height", height},
          {"margin", {{"l", 70}, {"r", 20}, {"t", 20}, {"b", 70}}},
          {"font", {{"family", "system-ui, sans-serif"}, {"size", 13}, {"color", "#1b1f24"}}},
          {"colorway", {"#0969da", "#cf5b00", "#1a7f37", "#8250df", "#bf3989", "#6e7781"}},
          {"paper_bgcolor", "#fff"},
          {"plot_bgcolor", "#fff"},
          {"xaxis", {{"automargin", true}, {"gridcolor", "#e6eaee"}}},
          {"yaxis", {{"automargin", true}, {"gridcolor", "#e6eaee"}}}};
}

// JSON inside a script element: no "</script>" and no "<!--" can come out of a string.
std::string script_json(const ordered_json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', true, ordered_json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

void append_table(std::string& html, const ReportTable& table) {
  html +=
      "<figure class=\"scroll\"><table><caption>" + escape_html(table.caption) + "</caption>\n<thead><tr>";
  for (const auto& cell : table.header) html += "<th>" + escape_html(cell) + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (const auto& cell : row) html += "<td>" + escape_html(cell) + "</td>";
    html += "</tr>\n";
  }
  html += "</tbody></table></figure>\n";
}

void append_chart(std::string& html, const ReportChart& chart, size_t index) {
  const std::string id = "chart" + std::to_string(index);
  ordered_json layout = base_layout(chart.height);
  layout.update(chart.layout, /*merge_objects=*/true);
  const ordered_json config = {{"responsive", true},
                               {"displaylogo", false},
                               {"toImageButtonOptions", {{"format", "svg"}, {"filename", "octet-" + id}}}};
  html += "<figure><figcaption>" + escape_html(chart.caption) + "</figcaption><div id=\"" + id +
          "\"></div></figure>\n<script>Plotly.newPlot(\"" + id + "\", " + script_json(chart.traces) + ", " +
          script_json(layout) + ", " + script_json(config) + ");</script>\n";
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string render_html(const ReportPage& page) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
      escape_html(page.title) + "</title>\n<style>" + kStyle + "</style>\n";
  if (!page.charts.empty()) html.append("<script>").append(plotly_js()).append("</script>\n");
  html += "</head><body>\n<h1>" + escape_html(page.title) + "</h1>\n";
  for (const auto& paragraph : page.paragraphs) html += "<p>" + escape_html(paragraph) + "</p>\n";
  for (const auto& table : page.tables) append_table(html, table);
  for (size_t i = 0; i < page.charts.size(); ++i) append_chart(html, page.charts[i], i + 1);
  if (!page.command.empty()) {
    html += "<p>Made by</p>\n<pre>" + escape_html(page.command) + "</pre>\n";
  }
  return html + "</body></html>\n";
}

}  // namespace octet
