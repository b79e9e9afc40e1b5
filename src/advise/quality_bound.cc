#include "advise/quality_bound.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace octet {
namespace {

Status bad_bound(const std::string& text, const std::string& why) {
  return invalid_argument("--quality '" + text + "': " + why +
                          "; expected bounds such as kl<0.02, ppl<1% or top1>95%, several with commas");
}

Result<QualityBound> parse_one(const std::string& text) {
  QualityBound bound;
  bound.text = text;
  const size_t sign = text.find_first_of("<>");
  if (sign == std::string::npos) return bad_bound(text, "there is no < or >");
  const std::string name = text.substr(0, sign);
  if (name == "kl") {
    bound.metric = QualityBound::Metric::kKl;
  } else if (name == "ppl") {
    bound.metric = QualityBound::Metric::kPerplexity;
  } else if (name == "top1") {
    bound.metric = QualityBound::Metric::kTop1;
  } else {
    return bad_bound(text, "'" + name + "' is not measured");
  }
  const bool top1 = bound.metric == QualityBound::Metric::kTop1;
  if (text[sign] != (top1 ? '>' : '<')) {
    return bad_bound(text, top1 ? "top1 is better the higher it is" : name + " is better the lower it is");
  }
  std::string number = text.substr(sign + 1);
  const bool percent = !number.empty() && number.back() == '%';
  if (percent) number.pop_back();
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bound.limit);
  if (error != std::errc() || end != number.data() + number.size()) {
    return bad_bound(text, "'" + text.substr(sign + 1) + "' is no number");
  }
  if (bound.metric == QualityBound::Metric::kKl && percent) return bad_bound(text, "kl is in nats");
  if (bound.metric == QualityBound::Metric::kPerplexity && !percent) {
    return bad_bound(text, "ppl is in percent over the 16-bit model's");
  }
  if (percent) bound.limit /= 100;
  if (!(bound.limit > 0) || (top1 && bound.limit >= 1)) {
    return bad_bound(text, top1 ? "it must lie between 0 and 100%" : "it must be above 0");
  }
  return bound;
}

}  // namespace

double QualityBound::used(const QualityFigures& figures) const {
  switch (metric) {
    case Metric::kKl:
      return figures.kl / limit;
    case Metric::kPerplexity:
      return std::max(figures.perplexity_over, 0.0) / limit;
    case Metric::kTop1:
      return (1 - figures.top1) / (1 - limit);
  }
  return 0;
}

Result<std::vector<QualityBound>> parse_quality(const std::string& text) {
  std::vector<QualityBound> bounds;
  if (text.empty()) return bounds;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    OCTET_ASSIGN_OR_RETURN(bounds.emplace_back(), parse_one(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return bounds;
}

double quality_used(const std::vector<QualityBound>& bounds, const QualityFigures& figures) {
  double used = 0;
  for (const auto& bound : bounds) used = std::max(used, bound.used(figures));
  return used;
}

std::string describe(const QualityBound& bound, const QualityFigures& figures) {
  switch (bound.metric) {
    case QualityBound::Metric::kKl:
      return fmt::format("kl {:.4g}", figures.kl);
    case QualityBound::Metric::kPerplexity:
      return fmt::format("ppl {:+.2f}%", 100 * figures.perplexity_over);
    case QualityBound::Metric::kTop1:
      return fmt::format("top1 {:.2f}%", 100 * figures.top1);
  }
  return "";
}

}  // namespace octet
