// The sample op on the CPU: passes over a row of logits are vectorized, and filters select before they sort.
// What the op does is written in backend/sampling_math.h. A thread's work on one row takes about 10 us for
// 50,000 logits when greedy, about 50 us when drawn.
#pragma once

#include <vector>

#include "backend/cpu/row_kernels.h"
#include "backend/sampling.h"

namespace octet::cpu {

// Samples rows of one width, one row at a time: one a thread.
class RowSampler {
 public:
  static size_t scratch_bytes(int32_t vocab_size);

  RowSampler(const RowKernels& kernels, int32_t vocab_size);
  void sample(const float* logits, const SamplingBatch& batch, const SamplingRow& row, SampledToken& out);

 private:
  struct Candidate {
    float logit, weight;
    int32_t id;
  };
  // By (logit descending, id ascending).
  static bool before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
  // The first k by that order, into candidates_ as a heap whose top is the last of them; weights are not
  // filled in.
  void select_top(const float* logits, int32_t k);
  float kth_largest(const float* logits, int32_t k);
  int32_t greedy(const float* logits) const;
  int32_t draw(const float* logits, const SamplingRow& row);
  int32_t draw_from_all(double total, double uniform) const;
  void keep_nucleus(double target);
  void log_probabilities(const float* logits, int32_t n_top, SampledToken& out);

  const RowKernels& kernels_;
  int32_t vocab_size_;
  std::vector<float> adjusted_, weights_;
  std::vector<double> block_sums_;
  std::vector<Candidate> candidates_;
};

}  // namespace octet::cpu
