// Static scales of inputs: one number for all tokens there will ever be. It is chosen on one part of the
// calibration data and checked on the other, which it has not seen.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quantize/smooth.h"

namespace octet {

// What an input's scale is made for.
//   absmax            the largest value
//   percentile[:99.99]  so many percent of the values; the rest clips
//   mse               the scale of least squared error, each token weighted to the same length
struct Observer {
  enum Kind : uint8_t { kAbsmax, kPercentile, kMse };
  Kind kind = kAbsmax;
  double percent = 99.99;
};
Result<Observer> parse_observer(const std::string& text);

struct StaticScale {
  float scale = 1;
  int32_t zero_point = 0;  // where the input has one
};
// The least and the largest value of all tokens.
struct ValueRange {
  float low = 0, high = 0;
};
// `rows`: some of the input's tokens, `range`: that of all, both divided by its smoothing.
StaticScale choose_static_scale(const TrialRows& rows, const ValueRange& range, const QuantArgs& input,
                                const Observer& observer);

// How a static scale does on tokens that it was not chosen on.
struct StaticCheck {
  double clipped = 0;        // share of values beyond the scale's range
  double error = 0;          // relative output error
  double error_dynamic = 0;  // of the same weights with a scale a token
  double worst_token = 0;    // the largest relative output error of a single token
};

// A static input is kept where all of these hold. Errors are relative and squared: 0.0025 is what rounding to
// 5 or 6 bits would cost. A token that is lost (a text's first, whose values are often a hundred times
// larger) costs more than its share of the error says, since all that follow look at it.
inline constexpr double kMostClipped = 0.001, kMostError = 0.0025, kMostTimesDynamic = 4,
                        kMostTokenError = 0.25;
// What does not hold, in words; empty: it is safe.
std::string why_unsafe(const StaticCheck& check);

Result<StaticCheck> check_static_scale(Ops& ops, const TrialRows& x, const std::vector<float>& s,
                                       const HostLinear& w, const std::vector<float>& weight);

// The scheme that takes the place of a static one: a scale a token, and a channel.
QuantScheme dynamic_instead(const QuantScheme& scheme);

}  // namespace octet
