// The Hessian and its factor. With the columns in the order in which they are rounded, H^-1 = U^T U with U
// upper triangular says how column t's error spreads. In reverse order the same U is the inverse of H's own
// Cholesky factor, so that H is never inverted.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/rounding.h"
#include "quantize/trial.h"

namespace octet {
namespace {

constexpr int64_t kBlock = 32;  // columns of the factor made together
constexpr int64_t kStrip = 64;  // columns of the inverse that a thread makes
constexpr int64_t kTokensAtOnce = 2048;
constexpr double kDamping = 0.01;  // of the mean of the diagonal, as in the paper

double dot(const double* a, const double* b, int64_t n) {
  double sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int64_t w = 0; w < 4; ++w) sums[w] += a[i + w] * b[i + w];
  }
  double rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return ((sums[0] + sums[2]) + (sums[1] + sums[3])) + rest;
}

// a [k, k], its lower triangle, becomes L with a = L L^T.
void cholesky(std::vector<double>& a, int64_t k, ThreadPool& pool) {
  const auto row = [&](int64_t i) { return a.data() + i * k; };
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, k);
    const auto finish_row = [&](int64_t i) {
      for (int64_t j = begin; j < std::min(end, i + 1); ++j) {
        const double rest = row(i)[j] - dot(row(i), row(j), j);
        // Damped as it is, a matrix of sums of squares stays positive; rounding shall not make a root of
        // less.
        row(i)[j] = i == j ? std::sqrt(std::max(rest, 1e-30)) : rest / row(j)[j];
      }
    };
    for (int64_t i = begin; i < end; ++i) finish_row(i);
    pool.parallel_for(k - end, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t i = end + first; i < end + last; ++i) finish_row(i);
    });
  }
}

// L^-1, lower triangle, as float32.
std::vector<float> inverse_of_lower(const std::vector<double>& l, int64_t k, ThreadPool& pool) {
  std::vector<float> inverse(static_cast<size_t>(k * k));
  pool.parallel_for((k + kStrip - 1) / kStrip, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t strip = first; strip < last; ++strip) {
      const int64_t begin = strip * kStrip, width = std::min(kStrip, k - begin);
      std::vector<double> m(static_cast<size_t>((k - begin) * kStrip));  // rows [begin, k) of these columns
      for (int64_t i = begin; i < k; ++i) {
        double* to = m.data() + (i - begin) * kStrip;
        if (i < begin + width) to[i - begin] = 1;
        for (int64_t j = begin; j < i; ++j) {
          const double factor = l[static_cast<size_t>(i * k + j)];
          const double* from = m.data() + (j - begin) * kStrip;
          for (int64_t c = 0; c < kStrip; ++c) to[c] -= factor * from[c];
        }
        const double diagonal = l[static_cast<size_t>(i * k + i)];
        for (int64_t c = 0; c < kStrip; ++c) to[c] /= diagonal;
        for (int64_t c = 0; c < width; ++c)
          inverse[static_cast<size_t>(i * k + begin + c)] = static_cast<float>(to[c]);
      }
    }
  });
  return inverse;
}

}  // namespace

Result<std::vector<float>> gram(Ops& ops, const ObservedRows& rows, int64_t end,
                                const std::vector<float>& s) {
  const int64_t k = rows.cols;
  std::vector<float> h(static_cast<size_t>(k * k));
  OCTET_ASSIGN_OR_RETURN(const Buffer output, ops.allocate(h.size() * sizeof(float)));
  std::vector<float> sum(h.size());
  for (int64_t begin = 0; begin < end; begin += kTokensAtOnce) {
    const int64_t tokens = std::min(kTokensAtOnce, end - begin);
    std::vector<uint16_t> transposed(static_cast<size_t>(k * tokens));
    for (int64_t t = 0; t < tokens; ++t) {
      const uint16_t* from = rows.values.data() + (begin + t) * k;
      for (int64_t c = 0; c < k; ++c) transposed[static_cast<size_t>(c * tokens + t)] = from[c];
    }
    const QuantArgs plain{rows.type, QScale::kNone, false, true};
    LinearWeights weights;
    weights.n = k;
    weights.k = tokens;
    weights.scheme = {plain, plain};
    weights.data = transposed.data();
    OCTET_ASSIGN_OR_RETURN(const auto packed, ops.pack(weights));
    OCTET_ASSIGN_OR_RETURN(const Buffer input, ops.allocate(transposed.size() * sizeof(uint16_t)));
    ops.upload(input.data(), transposed.data(), transposed.size() * sizeof(uint16_t));
    ops.linear({input.data(), plain, k, tokens, tokens}, *packed, {output.data(), DType::kF32, k, k, k});
    ops.download(sum.data(), output.data(), sum.size() * sizeof(float));
    for (size_t i = 0; i < h.size(); ++i) h[i] += sum[i];
  }
  if (s.empty()) return h;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j)
      h[static_cast<size_t>(i * k + j)] /= s[static_cast<size_t>(i)] * s[static_cast<size_t>(j)];
  }
  return h;
}

Compensation make_compensation(const std::vector<float>& hessian, int64_t k, ThreadPool& pool) {
  const auto diagonal = [&](int64_t c) { return hessian[static_cast<size_t>(c * k + c)]; };
  Compensation result;
  result.order.resize(static_cast<size_t>(k));
  std::iota(result.order.begin(), result.order.end(), 0);
  // The loudest column is rounded first, that is, stands last.
  std::stable_sort(result.order.begin(), result.order.end(),
                   [&](int32_t a, int32_t b) { return diagonal(a) < diagonal(b); });
  double mean = 0;
  for (int64_t c = 0; c < k; ++c) mean += diagonal(c) / static_cast<double>(k);
  const double damping = mean > 0 ? kDamping * mean : 1.0;
  std::vector<double> a(static_cast<size_t>(k * k));
  for (int64_t i = 0; i < k; ++i) {
    const int64_t from = result.order[static_cast<size_t>(i)] * k;
    for (int64_t j = 0; j <= i; ++j) {
      a[static_cast<size_t>(i * k + j)] =
          hessian[static_cast<size_t>(from + result.order[static_cast<size_t>(j)])];
    }
    a[static_cast<size_t>(i * k + i)] += damping;
  }
  cholesky(a, k, pool);
  result.factor = inverse_of_lower(a, k, pool);
  return result;
}

}  // namespace octet
