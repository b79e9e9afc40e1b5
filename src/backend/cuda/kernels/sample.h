// One token a row of logits: Ops::sample, in the order of operations of backend/sampling.h.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/ops.h"

namespace octet::cuda {

// A SamplingRow as the kernel wants it: ranges into the lists of this launch, and the draw itself, which is a
// function of the request alone and made on the host.
struct SampleRow {
  double uniform = 0;  // in [0, 1)
  float temperature = 0, inverse_temperature = 0;
  int32_t top_k = 0;  // 0: off
  float top_p = 1, min_p = 0;
  float repetition = 1, presence = 0, frequency = 0;
  int32_t n_logprobs = -1;
  int32_t penalty_begin = 0, penalty_end = 0, bias_begin = 0, bias_end = 0;
};
SampleRow to_sample_row(const SamplingRow& row);

// Everything a launch reads, in device memory.
struct SampleInputs {
  const SampleRow* rows = nullptr;  // [n]
  const TokenPenalty* penalties = nullptr;
  const TokenBias* biases = nullptr;
  float* saved_penalties = nullptr;  // scratch: a value a penalty, a value a bias
  float* saved_biases = nullptr;
};

// logits [n, vocab] f32: changed while the kernel works, as they were when it ends. out [n]; tokens [n], the
// sampled ids (0 for a broken row), for the embedding of the next step.
void sample(const View& logits, const SampleInputs& inputs, SampledToken* out, int32_t* tokens,
            cudaStream_t stream);

}  // namespace octet::cuda
