// How long a step takes, from steps that were timed:
//
//   seconds = f(tokens) + r rows of logits + d keys read by decodes + p keys read by prompts
//
// f, the linear layers' share, is linear between the token counts that were timed: a few tokens cost what
// the weights' bytes cost, many what their products cost, and no single line is both. All of it is one
// weighted least-squares fit, relative errors counting alike, no coefficient below 0.
#pragma once

#include <vector>

#include "base/status.h"

namespace octet {

// What a step's time depends on.
struct StepShape {
  double tokens = 0, rows = 0;
  double decode_keys = 0;   // sum over sequences with one token: tokens that it attends to
  double prefill_keys = 0;  // sum over all tokens of longer chunks

  bool operator==(const StepShape&) const = default;
  void add(int32_t first, int32_t n);  // n tokens of a sequence from position `first` on; rows apart
};

struct StepPoint {
  StepShape shape;
  double seconds = 0;
};

class StepModel {
 public:
  // kInvalidArgument without points.
  static Result<StepModel> fit(const std::vector<StepPoint>& points);
  double seconds(const StepShape& shape) const;
  // Of the points it was fitted to: the mean of |model / measured - 1|.
  double mean_error() const { return mean_error_; }

 private:
  std::vector<double> terms(const StepShape& shape) const;  // what the coefficients multiply
  std::vector<double> knots_;                               // token counts, ascending
  std::vector<double> coefficients_;                        // f at each knot, then r, d, p
  double mean_error_ = 0;
};

}  // namespace octet
