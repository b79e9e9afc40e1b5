#include "eval/logit_rows.h"

#include <algorithm>
#include <cmath>

#include "eval/logit_kernels_impl.h"

namespace octet {

const LogitKernels kLogitKernelsGeneric = kKernels;

const LogitKernels& logit_kernels() {
  static const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  return has_avx2 ? kLogitKernelsAvx2 : kLogitKernelsGeneric;
}

LogitSummary summarize_logits(const float* row, int64_t n) {
  const LogitKernels& kernels = logit_kernels();
  LogitSummary summary;
  summary.max = kernels.max(row, n);
  const float* place = std::find(row, row + n, summary.max);
  summary.argmax = place == row + n ? 0 : static_cast<int32_t>(place - row);
  summary.log_sum_exp = summary.max + std::log(kernels.sum_exp(row, summary.max, n));
  return summary;
}

double kl_divergence(const float* p, const LogitSummary& p_summary, const float* q,
                     const LogitSummary& q_summary, int64_t n) {
  // The kernel subtracts rounded normalizers; what the rounding took is put back, for p sums to one.
  const auto p_log = static_cast<float>(p_summary.log_sum_exp),
             q_log = static_cast<float>(q_summary.log_sum_exp);
  const double rounding = (p_log - p_summary.log_sum_exp) - (q_log - q_summary.log_sum_exp);
  const double kl = logit_kernels().weighted_difference(p, p_log, q, q_log, n) + rounding;
  return kl > 0 || std::isnan(kl) ? kl : 0;  // rounding may leave equal rows at -1e-9
}

}  // namespace octet
