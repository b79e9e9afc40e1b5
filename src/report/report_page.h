// A report as one HTML file: text, tables, and charts drawn by plotly.js as SVG. Everything is inside the
// file; each chart can be saved as an SVG from its toolbar. A page that is not interactive has its charts as
// they were drawn beforehand, and no script: some 5 MB less.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace octet {

struct ReportTable {
  std::string caption;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  // each as long as the header; first column left, others right
  std::string id;                              // of its file, where each table is one
};

// What plotly.js takes: a list of traces and a layout. Colours, fonts and margins are the page's unless the
// layout says otherwise.
struct ReportChart {
  std::string caption;
  nlohmann::ordered_json traces = nlohmann::ordered_json::array();
  nlohmann::ordered_json layout = nlohmann::ordered_json::object();
  int height = 380;     // pixels
  int min_width = 0;    // pixels; on a narrower page the chart scrolls sideways
  std::string id = "";  // of its file, where it is saved
  std::string svg;      // the same picture with its caption, for a page that is not interactive
};

// Below everything else of a page: a heading, and what belongs to it.
struct ReportSection {
  std::string title;
  std::vector<std::string> paragraphs;
  std::vector<ReportChart> charts;
  std::vector<ReportTable> tables;
};

struct ReportPage {
  std::string title;
  std::vector<std::string> paragraphs;
  std::vector<ReportTable> tables;
  std::vector<ReportChart> charts;
  std::string command;  // that made the report
  std::vector<ReportSection> sections;
  bool interactive = true;
};

// All texts are plain text; whatever they hold is shown, never interpreted. Charts of a page that is not
// interactive have their svg.
std::string render_html(const ReportPage& page);

// The table for spreadsheets: comma separated, quoted where needed (RFC 4180).
std::string to_csv(const ReportTable& table);

std::string escape_html(const std::string& text);

}  // namespace octet
