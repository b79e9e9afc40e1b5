// A picture described once, and drawn twice: by plotly.js in a page, and as an SVG file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/report_page.h"

namespace octet {

// Bars of one colour, one for each of the figure's places (or none there).
struct FigureSeries {
  std::string name, color;
  bool hatched = false;
  std::vector<std::optional<double>> values;
  std::vector<std::optional<double>> limits;  // an outline around the bar; empty: no limits
  std::vector<double> errors;                 // up and down from the bar's end; empty: not told
};

struct FigurePoint {
  std::string name, color;
  double x = 0, y = 0, y_error = 0;
  bool on_front = false;  // joined to the others that are, in the order of x
};

struct Figure {
  enum class Kind { kGroupedBars, kStackedBars, kPoints };
  Kind kind = Kind::kGroupedBars;
  std::string id, caption, x_title, y_title;
  std::vector<std::string> places;  // names below the bars
  std::vector<std::string> groups;  // of each place, equal ones side by side; empty: no groups
  std::vector<FigureSeries> series;
  std::vector<FigurePoint> points;
};

// Where a bar stands: on an axis on which places are 1 apart, groups a little more.
struct BarBox {
  size_t series = 0, place = 0;
  double center = 0, width = 0, from = 0, to = 0;
  std::optional<double> limit;
  double error = 0;
};
std::vector<BarBox> bar_boxes(const Figure& figure);

// The middles of the places, and of the groups.
std::vector<double> place_centers(const Figure& figure);
struct GroupLabel {
  std::string name;
  double center = 0;
};
std::vector<GroupLabel> group_labels(const Figure& figure);

// Pixels of the bars side by side in a file or a wide page, and of a letter, about.
inline constexpr double kPlotWidth = 796, kLetterWidth = 7.2;

// Whether the names below groups of bars need the whole width: a narrow page scrolls sideways.
bool wide(const Figure& figure);
// Whether the names below the bars are too long to stand beside one another.
bool slanted(const Figure& figure);
// Pixels below the bars to where the names of groups stand, which is below those of places.
double group_label_offset(const Figure& figure);
// Names of groups that do not fit beside one another take two lines, "int8" and "+ KV int8".
bool in_two_lines(const Figure& figure);

// Round numbers that cover a range, `target` or so of them.
std::vector<double> round_ticks(double low, double high, int target);

// The n-th colour of a figure.
const char* figure_color(size_t index);

ReportChart to_chart(const Figure& figure);
std::string to_svg(const Figure& figure);

}  // namespace octet
