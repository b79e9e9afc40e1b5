// What a user is ready to lose: "kl<0.02", "ppl<1%", "top1>95%", or several with commas.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

// Of a scheme beside the model as it is stored.
struct QualityFigures {
  double kl = 0;               // nats a token
  double perplexity_over = 0;  // 0.01: one percent more
  double top1 = 1;             // share of tokens on which the two agree
};

struct QualityBound {
  enum class Metric { kKl, kPerplexity, kTop1 };
  Metric metric = Metric::kKl;
  double limit = 0;  // in the units of QualityFigures
  std::string text;  // as the user wrote it

  // What a scheme loses, as a share of what it may: 1 and more break the bound.
  double used(const QualityFigures& figures) const;
};

// kInvalidArgument says what is wrong with which bound.
Result<std::vector<QualityBound>> parse_quality(const std::string& text);

// The largest share of all bounds; 0 without one.
double quality_used(const std::vector<QualityBound>& bounds, const QualityFigures& figures);

// The figure that the bound is about, "kl 0.0123".
std::string describe(const QualityBound& bound, const QualityFigures& figures);

}  // namespace octet
