#include <algorithm>
#include <cstring>

#include "backend/cuda/sampler.h"

namespace octet::cuda {
namespace {

// Entries of the sparse lists in one launch: a row may name every token once in each list; rows that do not
// fit together go in several launches.
size_t max_entries(const OpsLimits& limits) {
  return std::max<size_t>(2 * static_cast<size_t>(limits.vocab_size), size_t{1} << 18);
}
size_t aligned(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}
static_assert(sizeof(TokenPenalty) == sizeof(TokenBias));

size_t staged_bytes(size_t rows, size_t entries) {
  return aligned(rows * sizeof(SampleRow)) + entries * sizeof(TokenPenalty);
}
size_t rows_of(const OpsLimits& limits) {
  return static_cast<size_t>(limits.max_logits);
}

}  // namespace

size_t Sampler::device_bytes(const OpsLimits& limits) {
  const size_t rows = rows_of(limits), entries = max_entries(limits);
  return aligned(staged_bytes(rows, entries)) + aligned(entries * sizeof(float)) +
         aligned(rows * sizeof(SampledToken)) + aligned(rows * sizeof(int32_t));
}

Sampler::Sampler(const OpsLimits& limits, std::byte* memory, cudaStream_t stream, Fault& fault)
    : stream_(stream), fault_(fault), max_rows_(rows_of(limits)), max_entries_(max_entries(limits)) {
  const auto take = [&memory](size_t bytes) {
    std::byte* result = memory;
    memory += aligned(bytes);
    return result;
  };
  staged_ = take(staged_bytes(max_rows_, max_entries_));
  saved_ = reinterpret_cast<float*>(take(max_entries_ * sizeof(float)));
  sampled_ = reinterpret_cast<SampledToken*>(take(max_rows_ * sizeof(SampledToken)));
  tokens_ = reinterpret_cast<int32_t*>(take(max_rows_ * sizeof(int32_t)));
  fault_.check(inputs_.allocate(staged_bytes(max_rows_, max_entries_)), "pinned memory for sampling");
  fault_.check(results_.allocate(kOpenCalls * max_rows_ * sizeof(SampledToken)),
               "pinned memory for sampled tokens");
}

void Sampler::sample(const View& logits, const SamplingBatch& batch, SampledToken* out) {
  const auto n_rows = static_cast<int32_t>(batch.rows.size());
  if (n_rows == 0 || !fault_.ok()) return;
  OCTET_CHECK(static_cast<size_t>(n_rows) <= max_rows_)
      << n_rows << " rows of logits, room for " << max_rows_;
  if (n_calls_ - n_delivered_ == kOpenCalls) {  // nobody waited: the oldest results make room
    fault_.check(events_[n_delivered_ % kOpenCalls].wait(), "sampling");
    deliver(n_delivered_ + 1);
  }
  const auto entries = [&](int32_t row) {
    const SamplingRow& r = batch.rows[row];
    return static_cast<size_t>(r.penalty_end - r.penalty_begin + r.bias_end - r.bias_begin);
  };
  for (int32_t first = 0, end = 0; first < n_rows; first = end) {
    size_t total = 0;
    while (end < n_rows && (end == first || total + entries(end) <= max_entries_)) total += entries(end++);
    OCTET_CHECK(total <= max_entries_) << total << " penalties and biases of one row";
    launch(logits, batch, first, end - first);
  }
  fault_.check(cudaMemcpyAsync(results(n_calls_), sampled_, n_rows * sizeof(SampledToken),
                               cudaMemcpyDeviceToHost, stream_),
               "copying sampled tokens");
  events_[n_calls_ % kOpenCalls].record(stream_);
  calls_[n_calls_ % kOpenCalls] = {out, n_rows};
  ++n_calls_;
}

// Rows [first, first + n): their parameters, then their penalties, then their biases.
void Sampler::launch(const View& logits, const SamplingBatch& batch, int32_t first, int32_t n) {
  std::byte* host = inputs_.begin();
  auto* rows = reinterpret_cast<SampleRow*>(host);
  const size_t lists = aligned(max_rows_ * sizeof(SampleRow));
  auto* penalties = reinterpret_cast<TokenPenalty*>(host + lists);
  int32_t n_penalties = 0, n_biases = 0;
  for (int32_t i = 0; i < n; ++i) {
    const SamplingRow& row = batch.rows[first + i];
    rows[i] = to_sample_row(row);
    rows[i].penalty_begin = n_penalties;
    std::copy(batch.penalties.begin() + row.penalty_begin, batch.penalties.begin() + row.penalty_end,
              penalties + n_penalties);
    rows[i].penalty_end = n_penalties += row.penalty_end - row.penalty_begin;
  }
  auto* biases = reinterpret_cast<TokenBias*>(penalties + n_penalties);
  for (int32_t i = 0; i < n; ++i) {
    const SamplingRow& row = batch.rows[first + i];
    rows[i].bias_begin = n_biases;
    std::copy(batch.biases.begin() + row.bias_begin, batch.biases.begin() + row.bias_end, biases + n_biases);
    rows[i].bias_end = n_biases += row.bias_end - row.bias_begin;
  }
  // Without lists the parameters alone are copied.
  const auto n_entries = static_cast<size_t>(n_penalties + n_biases);
  const size_t bytes = n_entries > 0 ? lists + n_entries * sizeof(TokenPenalty) : n * sizeof(SampleRow);
  fault_.check(cudaMemcpyAsync(staged_, host, bytes, cudaMemcpyHostToDevice, stream_),
               "copying sampling parameters");
  inputs_.end(stream_);

  SampleInputs inputs;
  inputs.rows = reinterpret_cast<const SampleRow*>(staged_);
  inputs.penalties = reinterpret_cast<const TokenPenalty*>(staged_ + lists);
  inputs.biases = reinterpret_cast<const TokenBias*>(inputs.penalties + n_penalties);
  inputs.saved_penalties = saved_;
  inputs.saved_biases = saved_ + n_penalties;
  const View part{logits.row<float>(first), logits.type, n, logits.cols, logits.stride};
  octet::cuda::sample(part, inputs, sampled_ + first, tokens_ + first, stream_);
  fault_.check(cudaGetLastError(), "sample");
}

void Sampler::deliver(uint64_t n_calls) {
  for (; n_delivered_ < n_calls; ++n_delivered_) {
    const Call& call = calls_[n_delivered_ % kOpenCalls];
    std::copy_n(results(n_delivered_), call.n, call.out);
  }
}

}  // namespace octet::cuda
