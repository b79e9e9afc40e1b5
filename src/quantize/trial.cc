#include "quantize/trial.h"

#include <algorithm>

namespace octet {

TrialRows pick_rows(const ObservedRows& observed, int64_t begin, int64_t end, int64_t count) {
  TrialRows picked;
  picked.cols = observed.cols;
  picked.rows = std::min(count, end - begin);
  picked.values.resize(static_cast<size_t>(picked.rows * picked.cols));
  for (int64_t r = 0; r < picked.rows; ++r) {
    observed.read(begin + r * (end - begin) / picked.rows, picked.values.data() + r * picked.cols);
  }
  return picked;
}

Result<std::vector<float>> Trial::product(const TrialRows& x, const std::vector<float>& s,
                                          const HostLinear& w) {
  std::vector<float> scaled = x.values;
  if (!s.empty()) {
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] /= s[i % s.size()];
  }
  const auto values = static_cast<size_t>(x.rows * x.cols), results = static_cast<size_t>(x.rows * w.n);
  OCTET_ASSIGN_OR_RETURN(const Buffer input, ops_.allocate(values * sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(const Buffer output, ops_.allocate(results * sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(const QuantSlot slot, QuantSlot::create(ops_, x.rows, x.cols));
  LinearWeights weights = view_of(w);
  weights.bias = nullptr;
  OCTET_ASSIGN_OR_RETURN(const auto packed, ops_.pack(weights));
  ops_.upload(input.data(), scaled.data(), values * sizeof(float));
  QView a = slot.view(w.scheme.input, x.rows);
  OCTET_ASSIGN_OR_RETURN(const Buffer scale, ops_.allocate(sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(const Buffer zero_point, ops_.allocate(sizeof(int32_t)));
  if (w.scheme.static_input()) {
    ops_.upload(scale.data(), w.input_scale.data(), sizeof(float));
    a.scale = scale.as<float>();
  }
  if (!w.scheme.input.symmetric) {
    ops_.upload(zero_point.data(), w.input_zero_point.data(), sizeof(int32_t));
    a.zero_point = zero_point.as<int32_t>();
  }
  ops_.quantize({input.data(), DType::kF32, x.rows, x.cols, x.cols}, a);
  ops_.linear(a, *packed, {output.data(), DType::kF32, x.rows, w.n, w.n});
  std::vector<float> result(results);
  ops_.download(result.data(), output.data(), results * sizeof(float));
  return result;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b, int64_t rows) {
  const size_t cols = a.size() / static_cast<size_t>(rows);
  double sum = 0;
  for (size_t row = 0; row < a.size(); row += cols) {
    double error = 0, whole = 0;
    for (size_t i = row; i < row + cols; ++i) {
      const double difference = static_cast<double>(a[i]) - b[i];
      error += difference * difference;
      whole += static_cast<double>(a[i]) * a[i];
    }
    if (whole > 0) sum += error / whole;
  }
  return sum / static_cast<double>(rows);
}

}  // namespace octet
