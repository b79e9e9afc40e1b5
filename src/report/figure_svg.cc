// A figure as an SVG file: no script, colours that follow the reader's light or dark scheme.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/figure.h"

namespace octet {
namespace {

constexpr double kLeft = 76, kRight = 28, kTop = 34, kBottom = 66;
constexpr double kWidth = kLeft + kPlotWidth + kRight, kPlotHeight = 340;
constexpr double kSlantedBottom = 150;  // room for names that do not fit beside one another
constexpr double kLegendRow = 20, kLine = 16;

constexpr const char* kStyle =
    "<style>text{font:13px system-ui,sans-serif;fill:#1b1f24}.b{font-weight:600}.paper{fill:#fff}"
    ".grid{stroke:#d8dee4}.front{stroke:#8b949e;fill:none;stroke-dasharray:2 4}.axis{stroke:#1b1f24}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.grid{stroke:#30363d}"
    ".axis{stroke:#e6edf3}}</style>\n";

std::string text_at(double x, double y, const std::string& text, const char* anchor,
                    const std::string& attributes = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor,
                     attributes, escape_html(text));
}

double bottom(const Figure& figure) {
  return (slanted(figure) ? kSlantedBottom : kBottom) + (in_two_lines(figure) ? kLine : 0);
}

std::string tick_text(double value) {
  return std::abs(value) < 1e-12 ? "0" : fmt::format("{:.6g}", value);
}

// From the figure's values to the file's pixels.
struct Scale {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1, top = 0;
  std::vector<double> x_ticks, y_ticks;

  double x(double value) const {
    return kLeft + (kWidth - kLeft - kRight) * (value - x_low) / (x_high - x_low);
  }
  double y(double value) const { return top + kPlotHeight * (1 - (value - y_low) / (y_high - y_low)); }

  void set_y(double low, double high) {
    y_ticks = round_ticks(low, high, 5);
    y_low = y_ticks.front();
    y_high = y_ticks.back();
  }
};

struct LegendEntry {
  std::string name, color;
  bool hatched;
};

std::string swatch(const std::string& color, bool hatched, size_t index, double x, double y, double width,
                   double height) {
  std::string svg =
      fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x, y,
                  width, height, color);
  if (hatched) {
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"url(#hatch{})\"/>\n", x, y,
        width, height, index);
  }
  return svg;
}

// Rows of names from the top; returns where they end.
double append_legend(const Figure& figure, std::string& svg) {
  double x = kLeft, y = kTop;
  for (size_t i = 0; i < figure.series.size(); ++i) {
    const FigureSeries& s = figure.series[i];
    const double width = 34 + kLetterWidth * static_cast<double>(s.name.size());
    if (x > kLeft && x + width > kWidth - kRight) {
      x = kLeft;
      y += kLegendRow;
    }
    svg += swatch(s.color, s.hatched, i, x, y, 12, 12) + text_at(x + 18, y + 11, s.name, "start");
    x += width;
  }
  return figure.series.empty() ? kTop : y + kLegendRow + 6;
}

void append_axes(const Figure& figure, const Scale& scale, std::string& svg) {
  for (const double tick : scale.y_ticks) {
    svg += fmt::format("<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       std::abs(tick) < 1e-12 ? "axis" : "grid", kLeft, kWidth - kRight, scale.y(tick),
                       scale.y(tick));
    svg += text_at(kLeft - 8, scale.y(tick) + 4, tick_text(tick), "end");
  }
  const double middle = scale.top + kPlotHeight / 2;
  svg += text_at(18, middle, figure.y_title, "middle",
                 fmt::format(" transform=\"rotate(-90 18 {:.1f})\"", middle));
  svg += text_at((kLeft + kWidth - kRight) / 2, scale.top + kPlotHeight + bottom(figure) - 12, figure.x_title,
                 "middle");
}

void append_places(const Figure& figure, const Scale& scale, std::string& svg) {
  const double base = scale.top + kPlotHeight;
  const auto centers = place_centers(figure);
  for (size_t i = 0; i < centers.size(); ++i) {
    const double x = scale.x(centers[i]);
    svg += slanted(figure)
               ? text_at(x + 4, base + 14, figure.places[i], "end",
                         fmt::format(" transform=\"rotate(-50 {:.1f} {:.1f})\"", x + 4, base + 14))
               : text_at(x, base + 17, figure.places[i], "middle");
  }
  const double y = base + group_label_offset(figure);
  for (const GroupLabel& label : group_labels(figure)) {
    const size_t plus = in_two_lines(figure) ? label.name.find(" + ") : std::string::npos;
    const double x = scale.x(label.center);
    svg += text_at(x, y, label.name.substr(0, plus), "middle", " class=\"b\"");
    if (plus != std::string::npos)
      svg += text_at(x, y + kLine, label.name.substr(plus + 1), "middle", " class=\"b\"");
  }
}

void append_bars(const Figure& figure, const Scale& scale, std::string& svg) {
  for (const BarBox& box : bar_boxes(figure)) {
    const FigureSeries& series = figure.series[box.series];
    const double left = scale.x(box.center - box.width / 2),
                 width = scale.x(box.center + box.width / 2) - left;
    const auto [low, high] = std::minmax(box.from, box.to);
    svg += swatch(series.color, series.hatched, box.series, left, scale.y(high), width,
                  scale.y(low) - scale.y(high));
    if (box.error > 0) {
      const double x = scale.x(box.center);
      svg +=
          fmt::format("<line stroke=\"#8b949e\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                      x, x, scale.y(box.to - box.error), scale.y(box.to + box.error));
    }
    if (box.limit.has_value()) {
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" "
          "stroke=\"{}\"/>\n",
          left, scale.y(*box.limit), width, scale.y(0) - scale.y(*box.limit), series.color);
    }
  }
}

Scale bar_scale(const Figure& figure, double top) {
  Scale scale;
  scale.top = top;
  double low = 0, high = 0;
  for (const BarBox& box : bar_boxes(figure)) {
    low = std::min({low, box.from, box.to - box.error});
    high = std::max({high, box.from, box.to + box.error, box.limit.value_or(0)});
  }
  scale.set_y(low, high);
  scale.x_low = -0.5;
  scale.x_high = (figure.places.empty() ? 0 : place_centers(figure).back()) + 0.5;
  return scale;
}

Scale point_scale(const Figure& figure, double top) {
  Scale scale;
  scale.top = top;
  double low = 0, high = 0, right = 0;
  for (const FigurePoint& p : figure.points) {
    low = std::min(low, p.y - p.y_error);
    high = std::max(high, p.y + p.y_error);
    right = std::max(right, p.x);
  }
  scale.set_y(low, high);
  scale.x_ticks = round_ticks(0, 1.05 * right, 6);
  scale.x_high = scale.x_ticks.back();
  return scale;
}

void append_points(const Figure& figure, const Scale& scale, std::string& svg) {
  for (const double tick : scale.x_ticks)
    svg += text_at(scale.x(tick), scale.top + kPlotHeight + 17, tick_text(tick), "middle");
  std::vector<FigurePoint> front;
  std::ranges::copy_if(figure.points, std::back_inserter(front), &FigurePoint::on_front);
  std::ranges::sort(front, {}, &FigurePoint::x);
  std::string line;
  for (const FigurePoint& p : front) line += fmt::format("{:.1f},{:.1f} ", scale.x(p.x), scale.y(p.y));
  if (!line.empty()) svg += "<polyline class=\"front\" points=\"" + line + "\"/>\n";
  for (const FigurePoint& p : figure.points) {
    const double x = scale.x(p.x), y = scale.y(p.y);
    if (p.y_error > 0) {
      svg += fmt::format("<line stroke=\"{}\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                         p.color, x, x, scale.y(p.y - p.y_error), scale.y(p.y + p.y_error));
    }
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5.5\" fill=\"{}\"/>\n", x, y, p.color);
    svg += text_at(x, y - 10, p.name, "middle");
  }
}

std::string hatches(const Figure& figure) {
  std::string svg;
  for (size_t i = 0; i < figure.series.size(); ++i) {
    if (!figure.series[i].hatched) continue;
    svg += fmt::format(
        "<pattern id=\"hatch{}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
        "<path d=\"M0 6L6 0\" stroke=\"#fff\" stroke-width=\"1.6\"/></pattern>\n",
        i);
  }
  return svg.empty() ? "" : "<defs>" + svg + "</defs>\n";
}

}  // namespace

std::string to_svg(const Figure& figure) {
  std::string body = text_at(kLeft, 20, figure.caption, "start", " class=\"b\"");
  const double top = append_legend(figure, body) + 8;
  const bool bars = figure.kind != Figure::Kind::kPoints;
  const Scale scale = bars ? bar_scale(figure, top) : point_scale(figure, top);
  append_axes(figure, scale, body);
  if (bars) {
    append_bars(figure, scale, body);
    append_places(figure, scale, body);
  } else {
    append_points(figure, scale, body);
  }
  const double height = top + kPlotHeight + bottom(figure);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {:.0f}\" width=\"{}\" "
             "height=\"{:.0f}\">\n",
             kWidth, height, kWidth, height) +
         kStyle + hatches(figure) + "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n" + body +
         "</svg>\n";
}

}  // namespace octet
