// Arithmetic over whole rows of logits on the host: what divergence needs of a vocabulary of 100,000 numbers
// and more, thousands of times. Vectorized for the instruction set found at run time.
#pragma once

#include <cstdint>

namespace octet {

struct LogitSummary {
  int32_t argmax = 0;  // the first of the largest
  float max = 0;
  double log_sum_exp = 0;  // log of sum of exp(row[i])
  double log_prob(float logit) const { return static_cast<double>(logit) - log_sum_exp; }
};

// row [n]. A NaN or an infinity in it makes log_sum_exp not finite.
LogitSummary summarize_logits(const float* row, int64_t n);

// KL(softmax(p) || softmax(q)) in nats, of rows [n] whose summaries are given.
double kl_divergence(const float* p, const LogitSummary& p_summary, const float* q,
                     const LogitSummary& q_summary, int64_t n);

// The kernels behind them, one table an instruction set. All take rows [n].
struct LogitKernels {
  float (*max)(const float* row, int64_t n);
  double (*sum_exp)(const float* row, float shift, int64_t n);  // sum of exp(row[i] - shift), row[i] <= shift
  // sum of exp(p[i] - p_log) * ((p[i] - p_log) - (q[i] - q_log))
  double (*weighted_difference)(const float* p, float p_log, const float* q, float q_log, int64_t n);
};
extern const LogitKernels kLogitKernelsGeneric, kLogitKernelsAvx2;
const LogitKernels& logit_kernels();

}  // namespace octet
