#include "report/report_page.h"

#include <algorithm>

#include "base/check.h"
#include "report/plotly.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

constexpr size_t kLongTable = 40;  // rows; a longer one comes last, folded
constexpr size_t kLongCell = 30;   // characters; a longer one is a sentence, which may wrap

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dee4; --box: #f3f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --box: #161b22; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .5rem; }
figure { margin: 2rem 0; }
figcaption, caption, summary { text-align: left; font-weight: 600; padding-bottom: .4rem; caption-side: top; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .55rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.words { text-align: left; white-space: normal; min-width: 14rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
pre { background: var(--box); padding: .6rem .8rem; overflow-x: auto; }
@media print {
  body { max-width: none; margin: 0; }
  figure, tr { break-inside: avoid; }
  h2, figcaption, caption { break-after: avoid; }
  .scroll { overflow: visible; }
}
)";

// Charts take the page's colours, and follow when those change.
constexpr const char* kColourScript = R"(
const paint = () => {
  const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue('--ink').trim();
  const paper = style.getPropertyValue('--paper').trim(), line = style.getPropertyValue('--line').trim();
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    const change = {'font.color': ink, paper_bgcolor: paper, plot_bgcolor: paper};
    for (const axis of Object.keys(chart.layout).filter(key => /^[xy]axis/.test(key))) {
      change[axis + '.gridcolor'] = line;
      change[axis + '.zerolinecolor'] = change[axis + '.linecolor'] = ink;
    }
    Plotly.relayout(chart, change);
  }
};
paint();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint);
)";

// Defaults of every chart; what a chart's own layout says is laid over them.
ordered_json base_layout(int height) {
  return {
      {"height", height},
      {"margin", {{"l", 70}, {"r", 20}, {"t", 20}, {"b", 70}}},
      {"font", {{"family", "system-ui, sans-serif"}, {"size", 13}, {"color", "#1b1f24"}}},
      {"colorway", {"#2f81f7", "#db6d28", "#2da44e", "#8957e5", "#bf3989", "#6e7781", "#9a6700", "#1b7c83"}},
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

// Without a script that opens it on paper nothing is folded.
void append_table(std::string& html, const ReportTable& table, bool interactive) {
  const bool folded = interactive && table.rows.size() > kLongTable;
  const std::string caption = escape_html(table.caption);
  if (folded) html += "<details><summary>" + caption + "</summary>\n";
  html += "<figure class=\"scroll\"><table>" + (folded ? "" : "<caption>" + caption + "</caption>") +
          "\n<thead><tr>";
  for (const auto& cell : table.header) html += "<th>" + escape_html(cell) + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (const auto& cell : row)
      html += (cell.size() > kLongCell ? "<td class=\"words\">" : "<td>") + escape_html(cell) + "</td>";
    html += "</tr>\n";
  }
  html += "</tbody></table></figure>\n";
  if (folded) html += "</details>\n";
}

void append_chart(std::string& html, const ReportChart& chart, size_t index, bool interactive) {
  if (!interactive) {
    OCTET_CHECK(!chart.svg.empty()) << chart.caption;
    html += "<figure class=\"scroll\">" + chart.svg + "</figure>\n";
    return;
  }
  const std::string id = chart.id.empty() ? "chart" + std::to_string(index) : chart.id;
  ordered_json layout = base_layout(chart.height);
  layout.update(chart.layout, /*merge_objects=*/true);
  const ordered_json config = {{"responsive", true},
                               {"displaylogo", false},
                               {"toImageButtonOptions", {{"format", "svg"}, {"filename", "octet-" + id}}}};
  html += "<figure><figcaption>" + escape_html(chart.caption) + "</figcaption>";
  html += "<div class=\"scroll\"><div id=\"" + id + "\"";
  if (chart.min_width > 0) html += " style=\"min-width: " + std::to_string(chart.min_width) + "px\"";
  html += "></div></div></figure>\n<script>Plotly.newPlot(\"" + id + "\", " + script_json(chart.traces) +
          ", " + script_json(layout) + ", " + script_json(config) + ");</script>\n";
}

void append_section(std::string& html, const ReportSection& section, size_t& charts, bool interactive) {
  html += "<section><h2>" + escape_html(section.title) + "</h2>\n";
  for (const auto& paragraph : section.paragraphs) html += "<p>" + escape_html(paragraph) + "</p>\n";
  for (const auto& chart : section.charts) append_chart(html, chart, ++charts, interactive);
  for (const auto& table : section.tables) append_table(html, table, interactive);
  html += "</section>\n";
}

// A table folded on the screen is open on paper.
constexpr const char* kPrintScript = R"(
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(d => d.open = true));
)";

}  // namespace

std::string to_csv(const ReportTable& table) {
  std::string text;
  const auto append = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += ',';
      if (cells[i].find_first_of(",\"\r\n") == std::string::npos) {
        text += cells[i];
        continue;
      }
      text += '"';
      for (const char c : cells[i]) text += c == '"' ? "\"\"" : std::string(1, c);
      text += '"';
    }
    text += "\r\n";
  };
  append(table.header);
  for (const auto& row : table.rows) append(row);
  return text;
}

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
  const bool draws = page.interactive &&
                     (!page.charts.empty() ||
                      std::ranges::any_of(page.sections, [](const auto& s) { return !s.charts.empty(); }));
  if (draws) html.append("<script>").append(plotly_js()).append("</script>\n");
  html += "</head><body>\n<h1>" + escape_html(page.title) + "</h1>\n";
  for (const auto& paragraph : page.paragraphs) html += "<p>" + escape_html(paragraph) + "</p>\n";
  for (const auto& table : page.tables) {
    if (table.rows.size() <= kLongTable) append_table(html, table, page.interactive);
  }
  for (size_t i = 0; i < page.charts.size(); ++i) append_chart(html, page.charts[i], i + 1, page.interactive);
  for (const auto& table : page.tables) {
    if (table.rows.size() > kLongTable) append_table(html, table, page.interactive);
  }
  size_t charts = page.charts.size();
  for (const auto& section : page.sections) append_section(html, section, charts, page.interactive);
  if (draws) html.append("<script>").append(kColourScript).append(kPrintScript).append("</script>\n");
  if (!page.command.empty()) {
    html += "<p>Made by</p>\n<pre>" + escape_html(page.command) + "</pre>\n";
  }
  return html + "</body></html>\n";
}

}  // namespace octet
