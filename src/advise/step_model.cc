#include "advise/step_model.h"

#include <algorithm>
#include <cmath>

namespace octet {
namespace {

constexpr size_t kSlopes = 3;    // r, d, p
constexpr double kRidge = 1e-9;  // columns that the points do not tell apart share what they explain

// Solves A x = b for a symmetric positive matrix, row by row in one vector; b becomes x.
void solve(std::vector<double>& a, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    for (size_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (size_t j = k; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
      b[i] -= factor * b[k];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t j = i + 1; j < n; ++j) b[i] -= a[i * n + j] * b[j];
    b[i] /= a[i * n + i];
  }
}

// Least squares of rows x = 1 over the columns that are in use.
std::vector<double> least_squares(const std::vector<std::vector<double>>& rows,
                                  const std::vector<size_t>& used) {
  const size_t n = used.size();
  std::vector<double> size(n), a(n * n), b(n);
  for (size_t c = 0; c < n; ++c) {
    for (const auto& row : rows) size[c] += row[used[c]] * row[used[c]];
    size[c] = size[c] > 0 ? std::sqrt(size[c]) : 1;
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < n; ++i) {
      b[i] += row[used[i]] / size[i];
      for (size_t j = 0; j < n; ++j) a[i * n + j] += row[used[i]] / size[i] * (row[used[j]] / size[j]);
    }
  }
  for (size_t i = 0; i < n; ++i) a[i * n + i] += kRidge;
  solve(a, b);
  for (size_t c = 0; c < n; ++c) b[c] /= size[c];
  return b;
}

}  // namespace

void StepShape::add(int32_t first, int32_t n) {
  tokens += n;
  const double keys = static_cast<double>(n) * first + 0.5 * n * (n + 1.0);
  (n == 1 ? decode_keys : prefill_keys) += keys;
}

std::vector<double> StepModel::terms(const StepShape& s) const {
  std::vector<double> row(knots_.size() + kSlopes);
  if (knots_.size() == 1) {
    row[0] = 1;
  } else {  // beyond the last knot its line goes on; before the first, f is what it is there
    const auto above = std::upper_bound(knots_.begin(), knots_.end(), s.tokens);
    const auto right = std::clamp<size_t>(static_cast<size_t>(above - knots_.begin()), 1, knots_.size() - 1);
    const double share = std::max(0.0, (s.tokens - knots_[right - 1]) / (knots_[right] - knots_[right - 1]));
    row[right - 1] = 1 - share;
    row[right] = share;
  }
  row[knots_.size()] = s.rows;
  row[knots_.size() + 1] = s.decode_keys;
  row[knots_.size() + 2] = s.prefill_keys;
  return row;
}

Result<StepModel> StepModel::fit(const std::vector<StepPoint>& points) {
  if (points.empty()) return invalid_argument("no step was timed");
  StepModel model;
  for (const auto& point : points) model.knots_.push_back(point.shape.tokens);
  std::sort(model.knots_.begin(), model.knots_.end());
  model.knots_.erase(std::unique(model.knots_.begin(), model.knots_.end()), model.knots_.end());
  std::vector<std::vector<double>> rows;
  for (const auto& point : points) {
    auto& row = rows.emplace_back(model.terms(point.shape));
    for (double& value : row) value /= point.seconds;
  }
  std::vector<size_t> used(model.knots_.size() + kSlopes);
  for (size_t i = 0; i < used.size(); ++i) used[i] = i;
  while (true) {
    const auto found = least_squares(rows, used);
    const auto least = std::min_element(found.begin(), found.end());
    if (*least >= 0) {
      model.coefficients_.assign(model.knots_.size() + kSlopes, 0);
      for (size_t i = 0; i < used.size(); ++i) model.coefficients_[used[i]] = found[i];
      break;
    }
    used.erase(used.begin() + (least - found.begin()));  // noise made it negative: it is nothing
  }
  for (const auto& point : points) {
    model.mean_error_ += std::fabs(model.seconds(point.shape) / point.seconds - 1);
  }
  model.mean_error_ /= static_cast<double>(points.size());
  return model;
}

double StepModel::seconds(const StepShape& shape) const {
  const auto row = terms(shape);
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) sum += row[i] * coefficients_[i];
  return sum;
}

}  // namespace octet
