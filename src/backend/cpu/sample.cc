#include "backend/cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "backend/philox.h"
#include "backend/sampling_math.h"

namespace octet::cpu {
namespace {

constexpr int32_t kBlock = 2048;  // weights whose sum is kept, so that a draw walks through one block only
constexpr int32_t kLargestHeap = 1024;  // beyond it a selection is cheaper than a heap

int32_t n_blocks(int32_t vocab_size) {
  return (vocab_size + kBlock - 1) / kBlock;
}

}  // namespace

size_t RowSampler::scratch_bytes(int32_t vocab_size) {
  return static_cast<size_t>(vocab_size) * (2 * sizeof(float) + sizeof(Candidate)) +
         static_cast<size_t>(n_blocks(vocab_size)) * sizeof(double);
}

RowSampler::RowSampler(const RowKernels& kernels, int32_t vocab_size)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      adjusted_(vocab_size),
      weights_(vocab_size),
      block_sums_(n_blocks(vocab_size)) {
  candidates_.reserve(vocab_size);
}

void RowSampler::sample(const float* logits, const SamplingBatch& batch, const SamplingRow& row,
                        SampledToken& out) {
  out = {};
  if (is_broken(logits)) return;
  const float* adjusted = logits;
  if (row.bias_end > row.bias_begin || row.penalty_end > row.penalty_begin) {
    std::copy(logits, logits + vocab_size_, adjusted_.begin());
    adjust_logits(batch, row, adjusted_.data());
    adjusted = adjusted_.data();
  }
  out.token = row.temperature == 0 ? greedy(adjusted) : draw(adjusted, row);
  if (row.n_logprobs >= 0) log_probabilities(logits, std::min(row.n_logprobs, kMaxLogprobs), out);
}

int32_t RowSampler::greedy(const float* logits) const {
  const int64_t first = kernels_.next_at_least(logits, 0, vocab_size_, kernels_.max(logits, vocab_size_));
  return first < vocab_size_ ? static_cast<int32_t>(first) : 0;
}

void RowSampler::select_top(const float* logits, int32_t k) {
  candidates_.clear();
  for (int32_t id = 0; id < k; ++id) candidates_.push_back({logits[id], 0, id});
  std::make_heap(candidates_.begin(), candidates_.end(), before);
  for (int64_t i = k;
       (i = kernels_.next_at_least(logits, i, vocab_size_, candidates_[0].logit)) < vocab_size_; ++i) {
    const Candidate next{logits[i], 0, static_cast<int32_t>(i)};
    if (!before(next, candidates_[0])) continue;
    std::pop_heap(candidates_.begin(), candidates_.end(), before);
    candidates_.back() = next;
    std::push_heap(candidates_.begin(), candidates_.end(), before);
  }
}

float RowSampler::kth_largest(const float* logits, int32_t k) {
  if (k <= kLargestHeap) {
    select_top(logits, k);
    return candidates_[0].logit;
  }
  std::copy(logits, logits + vocab_size_, weights_.begin());
  std::nth_element(weights_.begin(), weights_.begin() + k - 1, weights_.end(), std::greater<float>());
  return weights_[k - 1];
}

// Leaves in candidates_ the shortest prefix, in order, whose weights reach `target`; at least one. Like
// quickselect: what is before a pivot is either all of the prefix or holds its end.
void RowSampler::keep_nucleus(double target) {
  constexpr int64_t kFewEnough = 32;
  auto begin = candidates_.begin(),
       end = candidates_.end();  // the prefix ends in here; before begin all is kept
  double mass = 0;               // of what is before begin
  while (end - begin > kFewEnough) {
    Candidate probes[] = {begin[0], begin[(end - begin) / 2], end[-1]};
    std::sort(std::begin(probes), std::end(probes), before);
    const Candidate pivot = probes[1];
    const auto middle = std::partition(begin, end, [&](const Candidate& c) { return !before(pivot, c); });
    double sum = 0;
    for (auto c = begin; c != middle; ++c) sum += c->weight;
    if (mass + sum >= target) {
      end = middle;
    } else {
      mass += sum;
      begin = middle;
    }
  }
  std::sort(begin, end, before);
  while (begin != end && (begin == candidates_.begin() || mass < target)) mass += (begin++)->weight;
  candidates_.erase(begin, candidates_.end());
}

int32_t RowSampler::draw_from_all(double total, double uniform) const {
  const double target = uniform * total;
  double running = 0;
  for (int32_t block = 0; block < n_blocks(vocab_size_); ++block) {
    if (running + block_sums_[block] <= target) {
      running += block_sums_[block];
      continue;
    }
    const int32_t first = block * kBlock, stop = std::min(first + kBlock, vocab_size_);
    for (int32_t id = first; id < stop; ++id) {
      if ((running += weights_[id]) > target) return id;
    }
  }
  int32_t last = vocab_size_ - 1;  // rounding left the target beyond the sum
  while (last > 0 && !(weights_[last] > 0)) --last;
  return last;
}

int32_t RowSampler::draw(const float* logits, const SamplingRow& row) {
  const float max = kernels_.max(logits, vocab_size_);
  const float factor = std::min(1 / row.temperature, std::numeric_limits<float>::max());
  const bool by_rank = row.top_k > 0 && row.top_k < vocab_size_;
  const float lowest_logit = by_rank ? kth_largest(logits, row.top_k) : 0;

  double total = 0;
  for (int32_t block = 0; block < n_blocks(vocab_size_); ++block) {
    const int32_t first = block * kBlock;
    block_sums_[block] = kernels_.exp_sum(logits + first, max, factor, std::min(kBlock, vocab_size_ - first),
                                          &weights_[first]);
    total += block_sums_[block];
  }
  const double uniform = sampling_uniform(row.seed, row.n_generated);
  if (!by_rank && row.top_p >= 1 && row.min_p <= 0) return draw_from_all(total, uniform);

  // What the filters can keep. Tokens below (1 - top_p) / vocab weigh less than 1 - top_p together: the
  // nucleus is above.
  candidates_.clear();
  const float* keys = by_rank ? logits : weights_.data();
  const float least = by_rank         ? lowest_logit
                      : row.top_p < 1 ? static_cast<float>((1.0 - row.top_p) * total / vocab_size_)
                                      : row.min_p;
  for (int64_t i = 0; (i = kernels_.next_at_least(keys, i, vocab_size_, least)) < vocab_size_; ++i) {
    candidates_.push_back({logits[i], weights_[i], static_cast<int32_t>(i)});
  }
  const auto mass = [&] {
    double sum = 0;
    for (const Candidate& c : candidates_) sum += c.weight;
    return sum;
  };
  if (row.top_p < 1) keep_nucleus(row.top_p * (by_rank ? mass() : total));
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < row.min_p; });
  std::sort(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });

  const double target = uniform * mass();
  double running = 0;
  for (const Candidate& c : candidates_) {
    if ((running += c.weight) > target) return c.id;
  }
  return candidates_.empty() ? greedy(logits) : candidates_.back().id;
}

void RowSampler::log_probabilities(const float* logits, int32_t n_top, SampledToken& out) {
  const float max = kernels_.max(logits, vocab_size_);
  const double log_total = std::log(kernels_.exp_sum(logits, max, 1, vocab_size_, nullptr));
  const auto logprob = [&](float logit) { return static_cast<float>(double{logit} - max - log_total); };
  out.logprob = logprob(logits[out.token]);
  out.n_top = std::min(n_top, vocab_size_);
  if (out.n_top == 0) return;
  select_top(logits, out.n_top);
  std::sort_heap(candidates_.begin(), candidates_.end(), before);
  for (int32_t i = 0; i < out.n_top; ++i) {
    out.top_tokens[i] = candidates_[i].id;
    out.top_logprobs[i] = logprob(candidates_[i].logit);
  }
}

}  // namespace octet::cpu
