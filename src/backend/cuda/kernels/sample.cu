// A block samples a row. Greedy rows are read once; drawn ones once for the largest logit, twice for a top-k
// or top-p selection (sample_select.cuh) and, where what is kept does not fit into shared memory or nothing
// is filtered, once more for the sums that the draw walks along. Bound by memory: 4 bytes a logit and pass.
//
// Biases and penalties are written into the logits and taken back at the end, so that every pass sees them;
// log probabilities are those of the raw logits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/sample.h"
#include "backend/cuda/kernels/sample_select.cuh"
#include "backend/philox.h"

namespace octet::cuda {
namespace {

using namespace sampling;

__device__ void adjust(const SampleRow& p, const SampleInputs& in, float* logits) {
  for (int i = p.bias_begin + threadIdx.x; i < p.bias_end; i += kThreads)
    in.saved_biases[i] = logits[in.biases[i].token];
  for (int i = p.penalty_begin + threadIdx.x; i < p.penalty_end; i += kThreads) {
    in.saved_penalties[i] = logits[in.penalties[i].token];
  }
  __syncthreads();
  for (int i = p.bias_begin + threadIdx.x; i < p.bias_end; i += kThreads) {
    atomicAdd(&logits[in.biases[i].token], in.biases[i].bias);  // a token may have several
  }
  __syncthreads();
  for (int i = p.penalty_begin + threadIdx.x; i < p.penalty_end; i += kThreads) {
    const TokenPenalty penalty = in.penalties[i];
    float logit = logits[penalty.token];
    logit = logit > 0 ? __fdiv_rn(logit, p.repetition) : logit * p.repetition;
    if (penalty.output_count > 0) {
      logit = __fsub_rn(
          logit, __fadd_rn(__fmul_rn(p.frequency, static_cast<float>(penalty.output_count)), p.presence));
    }
    logits[penalty.token] = logit;
  }
  __syncthreads();
}

__device__ void restore(const SampleRow& p, const SampleInputs& in, float* logits) {
  __syncthreads();
  for (int i = p.bias_begin + threadIdx.x; i < p.bias_end; i += kThreads)
    logits[in.biases[i].token] = in.saved_biases[i];
  for (int i = p.penalty_begin + threadIdx.x; i < p.penalty_end; i += kThreads) {
    logits[in.penalties[i].token] = in.saved_penalties[i];
  }
  __syncthreads();
}

// The rank of the first token; 0 where every logit is -infinity.
__device__ uint64_t first_rank(Shared& s, const Row& row) {
  float best = -INFINITY;
  int best_id = -1;
  for_each(row, [&](float v, int id) {
    if (v > best) best = v, best_id = id;
  });
  __syncthreads();
  return block_reduce<Max>(best_id < 0 ? uint64_t{0} : rank_of(best, best_id), s.warp_sums[0], uint64_t{0});
}

// How many of the sorted candidates [0, n) `keep` keeps; those are the first ones.
template <class Keep>
__device__ int count_kept(Shared& s, int n, const Keep& keep) {
  uint64_t kept = 0;
  for (int i = threadIdx.x; i < n; i += kThreads) kept += keep(s.candidates[i]) ? 1 : 0;
  __syncthreads();
  return static_cast<int>(block_reduce<Sum>(kept, s.segment_sums, uint64_t{0}));
}

// The integer t such that a running sum exceeds uniform * total where it exceeds t.
__device__ __forceinline__ uint64_t draw_target(double uniform, uint64_t total) {
  return min(static_cast<uint64_t>(uniform * static_cast<double>(total)), total - 1);
}

// Among the first n candidates, in the order of their ids.
__device__ int32_t draw_from_candidates(Shared& s, const Row& row, int n, double uniform) {
  for (int i = threadIdx.x; i < n; i += kThreads) {
    const uint64_t rank = s.candidates[i];
    s.candidates[i] = (rank << 32) | (rank >> 32);  // sorts by id
  }
  __syncthreads();
  sort_candidates(s, n);
  const auto rank_at = [](uint64_t swapped) { return (swapped << 32) | (swapped >> 32); };
  const int at = find_candidate(
      s, n, false, [&](uint64_t swapped) { return draw_mass(row.weight(value_of(rank_at(swapped)))); },
      [&](uint64_t total) { return draw_target(uniform, total); });
  return id_of(rank_at(s.candidates[at]));
}

// Among all tokens that `mass_of(value, id)` gives a mass.
template <class MassOf>
__device__ int32_t draw_from_row(Shared& s, const Row& row, double uniform, const MassOf& mass_of) {
  uint64_t sum = 0;
  for_each(row, [&](float v, int id) { sum += mass_of(v, id); });
  sum = warp_reduce<Sum>(sum);
  if (threadIdx.x % 32 == 0) s.segment_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  uint64_t total = 0, before = 0;
  for (int w = 0; w < kWarps; ++w) total += s.segment_sums[w];
  const uint64_t target = draw_target(uniform, total);
  int segment = 0;
  while (segment + 1 < kWarps && before + s.segment_sums[segment] <= target)
    before += s.segment_sums[segment++];

  const int begin = segment * row.segment, end = min(begin + row.segment, row.vocab);
  const int each = (row.segment + kThreads - 1) / kThreads;
  const int first = begin + static_cast<int>(threadIdx.x) * each, stop = min(first + each, end);
  uint64_t mine = 0, all;
  for (int id = first; id < stop; ++id) mine += mass_of(row.logits[id], id);
  if (threadIdx.x == 0) s.token = begin;
  uint64_t running = before + block_exclusive_sum(mine, s.warp_sums[0], &all);
  if (running <= target && target < running + mine) {
    int id = first;
    while ((running += mass_of(row.logits[id], id)) <= target) ++id;
    s.token = id;
  }
  __syncthreads();
  return s.token;
}

__device__ int32_t draw(Shared& s, const Row& row, const SampleRow& p) {
  uint64_t cut = 0;
  int n = -1;  // >= 0: the candidates [0, n) are what is kept
  const auto mass_of = [&](uint64_t rank) { return uint64_t{filter_mass(row.weight(value_of(rank)))}; };
  if (p.top_k > 0 && p.top_k < row.vocab) {
    const Selection top = select(s, row, false, static_cast<uint64_t>(p.top_k), 0, 0, 0);
    cut = top.cut & 0xffffffff00000000u;  // what equals the k-th stays
    if (top.n_sorted >= 0) n = count_kept(s, top.n_sorted, [&](uint64_t rank) { return rank >= cut; });
  }
  if (p.top_p < 1) {
    if (n >= 0) {
      n = 1 + find_candidate(s, n, true, mass_of, [&](uint64_t total) {
            return max(static_cast<uint64_t>(double{p.top_p} * static_cast<double>(total)), uint64_t{1});
          });
    } else {
      // Tokens below (1 - top_p) / vocab weigh less than 1 - top_p together, and all together weigh 1 at
      // least.
      const float below = (1 - p.top_p) / static_cast<float>(row.vocab);
      const Selection nucleus = select(s, row, true, 1, p.top_p, cut, below);
      cut = nucleus.cut;
      if (nucleus.n_sorted >= 0)
        n = count_kept(s, nucleus.n_sorted, [&](uint64_t rank) { return rank >= cut; });
    }
  }
  if (n >= 0) {
    if (p.min_p > 0) {
      n = max(1, count_kept(s, n, [&](uint64_t rank) { return row.weight(value_of(rank)) >= p.min_p; }));
    }
    return draw_from_candidates(s, row, n, p.uniform);
  }
  return draw_from_row(s, row, p.uniform, [&](float v, int id) {
    const float w = row.weight(v);
    return w >= p.min_p && (cut == 0 || rank_of(v, id) >= cut) ? draw_mass(w) : 0;
  });
}

// Of the raw logits: the sampled token's, and those of the most likely ones.
__device__ void log_probabilities(Shared& s, Row row, const SampleRow& p, int32_t token, SampledToken& out) {
  row.max = value_of(first_rank(s, row));
  row.factor = 1;
  uint64_t sum = 0;
  for_each(row, [&](float v, int) { sum += draw_mass(expf(v - row.max)); });
  __syncthreads();
  sum = block_reduce<Sum>(sum, s.segment_sums, uint64_t{0});
  const double log_total = log(static_cast<double>(sum) * 0x1p-40);
  const auto logprob = [&](float v) { return static_cast<float>(double{v} - row.max - log_total); };
  const int n_top = min(min(p.n_logprobs, kMaxLogprobs), row.vocab);
  if (threadIdx.x == 0) {
    out.logprob = logprob(row.logits[token]);
    out.n_top = n_top;
  }
  if (n_top == 0) return;
  const Selection top = select(s, row, false, static_cast<uint64_t>(n_top), 0, 0, 0);
  if (top.n_sorted < 0) {
    clear_bins(s);
    for_each(row, [&](float v, int id) {
      if (rank_of(v, id) >= top.cut) add_candidate(s, rank_of(v, id));
    });
    __syncthreads();
    sort_candidates(s, n_top);
  }
  if (static_cast<int>(threadIdx.x) < n_top) {
    const int32_t id = id_of(s.candidates[threadIdx.x]);
    out.top_tokens[threadIdx.x] = id;
    out.top_logprobs[threadIdx.x] = logprob(row.logits[id]);
  }
}

__global__ __launch_bounds__(kThreads, 2) void sample_rows(float* logits, int64_t stride, int32_t vocab,
                                                           int32_t segment, bool aligned, SampleInputs in,
                                                           SampledToken* out, int32_t* tokens) {
  __shared__ Shared s;
  let_next_kernel_start();
  wait_for_previous_kernel();
  const SampleRow p = in.rows[blockIdx.x];
  float* mine = logits + blockIdx.x * stride;
  SampledToken& result = out[blockIdx.x];
  if (threadIdx.x == 0) {
    result.token = -1;
    result.logprob = 0;
    result.n_top = 0;
  }
  if (isnan(mine[0])) {
    if (threadIdx.x == 0) tokens[blockIdx.x] = 0;
    return;
  }
  __syncthreads();  // all have looked before anybody writes
  const bool adjusted = p.bias_end > p.bias_begin || p.penalty_end > p.penalty_begin;
  if (adjusted) adjust(p, in, mine);
  Row row{mine, vocab, segment, aligned, 0, p.inverse_temperature};
  const uint64_t first = first_rank(s, row);
  int32_t token = first == 0 ? 0 : id_of(first);
  if (p.temperature > 0 && first != 0) {
    row.max = value_of(first);
    token = draw(s, row, p);
  }
  if (adjusted) restore(p, in, mine);
  if (threadIdx.x == 0) {
    result.token = token;
    tokens[blockIdx.x] = token;
  }
  if (p.n_logprobs >= 0) log_probabilities(s, row, p, token, result);
}

}  // namespace

SampleRow to_sample_row(const SamplingRow& row) {
  SampleRow r;
  r.uniform = row.temperature > 0 ? sampling_uniform(row.seed, row.n_generated) : 0;
  r.temperature = row.temperature;
  r.inverse_temperature =
      row.temperature > 0 ? std::min(1 / row.temperature, std::numeric_limits<float>::max()) : 0;
  r.top_k = row.top_k;
  r.top_p = row.top_p;
  r.min_p = row.min_p;
  r.repetition = row.repetition_penalty;
  r.presence = row.presence_penalty;
  r.frequency = row.frequency_penalty;
  r.n_logprobs = row.n_logprobs;
  return r;
}

void sample(const View& logits, const SampleInputs& inputs, SampledToken* out, int32_t* tokens,
            cudaStream_t stream) {
  if (logits.rows == 0) return;
  const auto vocab = static_cast<int32_t>(logits.cols);
  const int32_t segment = ((vocab + kWarps - 1) / kWarps + 127) / 128 * 128;
  const bool aligned = logits.stride % 4 == 0 && reinterpret_cast<uintptr_t>(logits.data) % 16 == 0;
  launch_dependent(sample_rows, dim3(static_cast<unsigned>(logits.rows)), dim3(kThreads), 0, stream,
                   logits.row<float>(0), logits.stride, vocab, segment, aligned, inputs, out, tokens);
}

}  // namespace octet::cuda
