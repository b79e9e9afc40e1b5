#include <algorithm>

#include <fmt/format.h>

#include "report/figure.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

constexpr int kHeight = 430;
constexpr size_t kBarsOfAPhone = 24;  // more bars than these get a page that scrolls sideways
constexpr int kPixelsOfABar = 14;
constexpr int kWideFigure = 940;    // with kPlotWidth for the bars
constexpr double kNameHeight = 11;  // of a letter, above the line it stands on

void add_bars(const Figure& figure, ordered_json& traces) {
  const auto boxes = bar_boxes(figure);
  for (size_t s = 0; s < figure.series.size(); ++s) {
    const FigureSeries& series = figure.series[s];
    ordered_json x = ordered_json::array(), y = x, base = x, width = x, text = x;
    ordered_json errors = x, limit_x = x, limit_y = x, limit_width = x;
    for (const BarBox& box : boxes) {
      if (box.series != s) continue;
      x.push_back(box.center);
      y.push_back(box.to - box.from);
      base.push_back(box.from);
      width.push_back(box.width);
      errors.push_back(box.error);
      const std::string group = figure.groups.empty() ? "" : figure.groups[box.place] + ", ";
      text.push_back(fmt::format("{}, {}{}: {:.4g}", series.name, group, figure.places[box.place],
                                 *series.values[box.place]));
      if (!box.limit.has_value()) continue;
      text.back() = fmt::format("{}<br>{:.0f} % of the limit, {:.4g}", text.back().get<std::string>(),
                                100 * box.to / *box.limit, *box.limit);
      limit_x.push_back(box.center);
      limit_y.push_back(*box.limit);
      limit_width.push_back(box.width);
    }
    ordered_json marker = {{"color", series.color}};
    if (series.hatched) marker["pattern"] = {{"shape", "/"}, {"size", 6}};
    traces.push_back({{"type", "bar"},
                      {"name", series.name},
                      {"legendgroup", series.name},
                      {"x", x},
                      {"y", y},
                      {"base", base},
                      {"width", width},
                      {"hovertext", text},
                      {"hoverinfo", "text"},
                      {"marker", marker}});
    if (!series.errors.empty())
      traces.back()["error_y"] = {
          {"type", "data"}, {"array", errors}, {"color", "#8b949e"}, {"thickness", 1.2}};
    if (limit_x.empty()) continue;
    traces.push_back(
        {{"type", "bar"},
         {"name", series.name + ", limit"},
         {"legendgroup", series.name},
         {"showlegend", false},
         {"x", limit_x},
         {"y", limit_y},
         {"width", limit_width},
         {"hoverinfo", "skip"},
         {"marker", {{"color", "rgba(0,0,0,0)"}, {"line", {{"color", series.color}, {"width", 1}}}}}});
  }
}

ordered_json bar_layout(const Figure& figure) {
  const bool grouped = !figure.groups.empty();
  const auto centers = place_centers(figure);
  ordered_json annotations = ordered_json::array();
  const double below = group_label_offset(figure) - kNameHeight;
  for (const GroupLabel& label : group_labels(figure)) {
    std::string name = escape_html(label.name);
    if (const size_t plus = name.find(" + "); in_two_lines(figure) && plus != std::string::npos)
      name.replace(plus, 1, "<br>");
    annotations.push_back({{"x", label.center},
                           {"y", 0},
                           {"yref", "paper"},
                           {"yshift", -below},
                           {"yanchor", "top"},
                           {"showarrow", false},
                           {"text", "<b>" + name + "</b>"}});
  }
  return {
      {"barmode", "overlay"},
      {"annotations", annotations},
      {"xaxis",
       {{"title", {{"text", figure.x_title}, {"standoff", grouped ? (in_two_lines(figure) ? 46 : 28) : 8}}},
        {"tickvals", centers},
        {"ticktext", figure.places},
        {"tickangle", slanted(figure) ? -50 : 0},
        {"zeroline", false},
        {"showgrid", false}}},
      {"yaxis", {{"title", {{"text", figure.y_title}}}}}};
}

void add_points(const Figure& figure, ordered_json& traces) {
  std::vector<const FigurePoint*> front;
  for (const FigurePoint& p : figure.points)
    if (p.on_front) front.push_back(&p);
  std::ranges::sort(front, {}, &FigurePoint::x);
  ordered_json x = ordered_json::array(), y = x;
  for (const FigurePoint* p : front) {
    x.push_back(p->x);
    y.push_back(p->y);
  }
  traces.push_back({{"type", "scatter"},
                    {"mode", "lines"},
                    {"x", x},
                    {"y", y},
                    {"showlegend", false},
                    {"hoverinfo", "skip"},
                    {"line", {{"color", "#8b949e"}, {"width", 1.5}, {"dash", "dot"}}}});
  for (const FigurePoint& p : figure.points) {
    traces.push_back({{"type", "scatter"},
                      {"mode", "markers+text"},
                      {"name", p.name},
                      {"x", {p.x}},
                      {"y", {p.y}},
                      {"text", {p.name}},
                      {"textposition", "top center"},
                      {"showlegend", false},
                      {"error_y", {{"type", "data"}, {"array", {p.y_error}}, {"thickness", 1}}},
                      {"marker", {{"size", 11}, {"color", p.color}}}});
  }
}

}  // namespace

ReportChart to_chart(const Figure& figure) {
  ReportChart chart;
  chart.caption = figure.caption;
  chart.height = kHeight;
  chart.id = figure.id;
  if (figure.kind == Figure::Kind::kPoints) {
    add_points(figure, chart.traces);
    chart.layout = {{"xaxis", {{"title", {{"text", figure.x_title}}}, {"rangemode", "tozero"}}},
                    {"yaxis", {{"title", {{"text", figure.y_title}}}}}};
  } else {
    add_bars(figure, chart.traces);
    chart.layout = bar_layout(figure);
    const size_t side_by_side = figure.kind == Figure::Kind::kStackedBars ? 2 : figure.series.size();
    const size_t bars = figure.places.size() * side_by_side;
    if (bars > kBarsOfAPhone)
      chart.min_width = static_cast<int>(std::min<size_t>(bars * kPixelsOfABar, 1000));
    if (wide(figure)) chart.min_width = kWideFigure;
  }
  chart.layout["modebar"] = {{"orientation", "v"}};  // beside the picture: the legend is above
  chart.layout["margin"] = {{"r", 40}};
  chart.layout["legend"] = {{"orientation", "h"}, {"y", 1.02}, {"yanchor", "bottom"}, {"x", 0}};
  return chart;
}

}  // namespace octet
