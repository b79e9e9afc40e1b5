#include "report/figure.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace octet {
namespace {

constexpr double kGroupGap = 0.6;      // beyond the distance of two places
constexpr size_t kLettersBeside = 48;  // of all places together, on a narrow page
constexpr double kBetweenNames = 6;    // pixels
constexpr double kPlaceWidth = 0.8;    // of a place's distance to the next, taken by its bars

size_t letters_of(const Figure& figure) {
  size_t letters = 0;
  for (const auto& place : figure.places) letters += place.size() + 1;
  return letters;
}

size_t longest_of(const Figure& figure) {
  size_t longest = 0;
  for (const auto& place : figure.places) longest = std::max(longest, place.size());
  return longest;
}

}  // namespace

std::vector<double> place_centers(const Figure& figure) {
  std::vector<double> centers;
  double at = 0;
  for (size_t i = 0; i < figure.places.size(); ++i) {
    if (i > 0) at += figure.groups.empty() || figure.groups[i] == figure.groups[i - 1] ? 1 : 1 + kGroupGap;
    centers.push_back(at);
  }
  return centers;
}

std::vector<GroupLabel> group_labels(const Figure& figure) {
  std::vector<GroupLabel> labels;
  const auto centers = place_centers(figure);
  for (size_t begin = 0; begin < figure.groups.size();) {
    size_t end = begin;
    while (end < figure.groups.size() && figure.groups[end] == figure.groups[begin]) ++end;
    labels.push_back({figure.groups[begin], (centers[begin] + centers[end - 1]) / 2});
    begin = end;
  }
  return labels;
}

std::vector<BarBox> bar_boxes(const Figure& figure) {
  const bool stacked = figure.kind == Figure::Kind::kStackedBars;
  const auto centers = place_centers(figure);
  const double n = stacked ? 1 : static_cast<double>(figure.series.size());
  const double width = kPlaceWidth / n;
  std::vector<double> heights(figure.places.size(), 0);
  std::vector<BarBox> boxes;
  for (size_t s = 0; s < figure.series.size(); ++s) {
    const FigureSeries& series = figure.series[s];
    for (size_t p = 0; p < figure.places.size(); ++p) {
      if (!series.values[p].has_value()) continue;
      BarBox box{s, p, centers[p], width, 0, *series.values[p], {}, 0};
      if (stacked) {
        box.from = heights[p];
        box.to = heights[p] += *series.values[p];
      } else {
        box.center += (static_cast<double>(s) + 0.5 - n / 2) * width;
      }
      if (!series.limits.empty()) box.limit = series.limits[p];
      if (!series.errors.empty()) box.error = series.errors[p];
      boxes.push_back(box);
    }
  }
  return boxes;
}

bool wide(const Figure& figure) {
  return !figure.groups.empty() && (letters_of(figure) > kLettersBeside || in_two_lines(figure));
}

bool slanted(const Figure& figure) {
  if (letters_of(figure) <= kLettersBeside || figure.groups.empty())
    return letters_of(figure) > kLettersBeside;
  const double room = kPlotWidth / (place_centers(figure).back() + 1);  // of a place
  return kLetterWidth * static_cast<double>(longest_of(figure)) + kBetweenNames > room;
}

double group_label_offset(const Figure& figure) {
  return slanted(figure) ? 36 + 0.77 * kLetterWidth * static_cast<double>(longest_of(figure)) : 35;
}

bool in_two_lines(const Figure& figure) {
  const auto labels = group_labels(figure);
  return std::ranges::any_of(labels, [&](const GroupLabel& label) {
    return kLetterWidth * static_cast<double>((label.name.size() + 2) * labels.size()) > kPlotWidth;
  });
}

std::vector<double> round_ticks(double low, double high, int target) {
  if (!(high > low)) high = low + 1;
  const double rough = (high - low) / target;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9);
  for (int i = 0;; ++i) {
    ticks.push_back((first + i) * step);
    if (ticks.back() >= high - 1e-9 * step) return ticks;
  }
}

const char* figure_color(size_t index) {
  static constexpr const char* kColors[] = {"#6e7781", "#2f81f7", "#db6d28", "#2da44e", "#8957e5",
                                            "#bf3989", "#b08800", "#1b7c83", "#79a8f2", "#d0a37c"};
  return kColors[index % std::size(kColors)];
}

}  // namespace octet
