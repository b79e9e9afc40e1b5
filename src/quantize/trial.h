// What a choice costs: a linear layer's output on observed inputs, computed by the backend's own ops in the
// scheme under trial, beside the output in 16 bits.
#pragma once

#include <vector>

#include "backend/ops.h"
#include "model/weights.h"
#include "quantize/layer_runner.h"

namespace octet {

// Inputs of one linear layer, in float32.
struct TrialRows {
  int64_t rows = 0, cols = 0;
  std::vector<float> values;  // [rows, cols]
};

// `count` rows spread evenly over [begin, end).
TrialRows pick_rows(const ObservedRows& observed, int64_t begin, int64_t end, int64_t count);

class Trial {
 public:
  explicit Trial(Ops& ops) : ops_(ops) {}

  // x / s . w^T without its bias, [x.rows, w.n], as the model would compute it; s [cols], or empty for 1.
  Result<std::vector<float>> product(const TrialRows& x, const std::vector<float>& s, const HostLinear& w);

 private:
  Ops& ops_;
};

// The mean over rows (tokens) of |a - b|^2 / |a|^2: a token of very large values, such as a text's first,
// counts no more than any other, as after the norms that follow.
double relative_error(const std::vector<float>& a, const std::vector<float>& b, int64_t rows);

}  // namespace octet
