// Smoothing: how much of an input's outliers a linear layer's weight takes over (see recipe.h for the idea).
//
//   s[c] = size(x[c])^alpha / max|w[:, c]|^(1 - alpha)          divided by its geometric mean
//
// size is max|x[c]| in the paper. A scale a token, however, is made for the token at hand, and the largest
// value that a channel ever had says little about the usual token: means over tokens with the powers 2 and 4
// are candidates too. A channel that was never active keeps s = 1. Where alpha is searched, size and alpha
// are those whose output error on observed inputs is the least, layer by layer; not smoothing at all is among
// the candidates. A given alpha goes with max|x[c]|.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quantize/recipe.h"
#include "quantize/trial.h"

namespace octet {

struct SmoothOptions {
  enum Mode : uint8_t { kNone, kFixed, kSearch };
  Mode mode = kSearch;
  float alpha = 0.5f;  // kFixed
};
// "none", "search", or a number in [0, 1].
Result<SmoothOptions> parse_alpha(const std::string& text);

// What reads one input: the weights [n, k] in float32, and the scheme of each.
struct Consumers {
  std::vector<std::string> modules;
  std::vector<QuantScheme> schemes;
  std::vector<std::vector<float>> weights;
  int64_t k = 0;
};

// How channels of an input are bound to each other, and to the numbers that can be stored.
struct SmoothConstraint {
  // The input's channel c is made by channel source[c] of what takes the division in (a head's value vector
  // is read by several query heads); empty: each by its own.
  std::vector<int32_t> source;
  int64_t sources = 0;
  // The norm's weight that takes it in, which is stored in 16 bits: s is what is left after rounding. Empty:
  // none.
  std::vector<float> gamma;
  QType gamma_type = QType::kBF16;
};

struct Smoothing {
  std::optional<float> alpha;         // none: not smoothed
  std::string size;                   // "max", "mean2", "mean4"
  std::vector<float> s;               // [k] empty: 1
  double error = 0, error_plain = 0;  // relative output error on the trial rows, with and without
};

// A way to say how large each channel of an input is.
struct ChannelSizes {
  std::string name;
  std::vector<float> values;  // [k]
};
std::vector<float> smoothing_scale(const std::vector<float>& x_size, const std::vector<float>& w_absmax,
                                   float alpha, const SmoothConstraint& constraint);

// `sizes`: max first.
Result<Smoothing> choose_smoothing(Ops& ops, const SmoothOptions& options,
                                   const std::vector<ChannelSizes>& sizes, const TrialRows& x,
                                   const Consumers& consumers, const SmoothConstraint& constraint);

}  // namespace octet
