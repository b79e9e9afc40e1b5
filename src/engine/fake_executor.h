// A model for tests: the next token is a hash of the sequence's tokens, read through a paged cache by way of
// the page tables and slots that the engine gave. A wrong page, a token that was never written, or a shared
// page that was overwritten gives another token than expected_output(), which hashes the plain text.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "base/check.h"
#include "engine/executor.h"
#include "engine/sequence.h"

namespace octet::fake {

inline uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0xff51afd7ed558ccdu;
  return hash ^ (hash >> 29);
}

inline uint64_t hash_text(std::span<const int32_t> tokens) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = mix(hash, static_cast<uint64_t>(token));
  return hash;
}

inline float logprob(uint64_t text_hash, int32_t token) {
  return -static_cast<float>(mix(text_hash, static_cast<uint64_t>(token)) % 1000) / 100;
}

// The token after a text; greedy rows ignore the seed. Forbidden tokens give way to the next one.
template <typename IsForbidden>
int32_t next_token(uint64_t text_hash, const SamplingRow& row, int32_t vocab_size,
                   const IsForbidden& is_forbidden) {
  uint64_t hash = text_hash;
  if (row.temperature > 0) hash = mix(mix(hash, row.seed), row.n_generated);
  auto token = static_cast<int32_t>(hash % static_cast<uint64_t>(vocab_size));
  while (is_forbidden(token)) token = (token + 1) % vocab_size;
  return token;
}

class FakeExecutor final : public Executor {
 public:
  explicit FakeExecutor(ExecutorLimits limits) : limits_(std::move(limits)) {
    cache_.resize(static_cast<size_t>(limits_.n_pages) * limits_.page_size);
  }

  ExecutorLimits limits() const override { return limits_; }

  // A device that runs ahead works in order, so the step is done here and now; what it sampled is told by
  // wait() alone.
  void launch(const ForwardBatch& batch, const SamplingBatch& sampling,
              std::span<SampledToken> sampled) override {
    check_shape(batch, sampling, sampled);
    OCTET_CHECK(n_open_ < (limits_.runs_ahead ? 2 : 1));
    for (int32_t i = 0; i < batch.n_tokens(); ++i)
      cache_[batch.slots[i]] = {known_id(batch.token_ids[i]), batch.positions[i]};
    Open& step = open_[(oldest_ + n_open_++) % 2];
    step.out = sampled;
    step.tokens.resize(sampled.size());
    for (int32_t r = 0; r < batch.n_logits(); ++r) {
      const uint64_t hash = hash_context(batch, batch.logit_rows[r]);
      const SamplingRow& row = sampling.rows[r];
      const auto biases = std::span(sampling.biases).subspan(row.bias_begin, row.bias_end - row.bias_begin);
      step.tokens[r] = sample(hash, row, biases);
    }
    last_sampled_ = step.tokens;
    ++n_steps;
    if (at_launch) at_launch();
  }

  Status wait() override {
    OCTET_CHECK(n_open_ > 0);
    if (during_step) during_step();
    Open& step = open_[oldest_];
    std::ranges::copy(step.tokens, step.out.begin());
    oldest_ = 1 - oldest_;
    --n_open_;
    return fails && fails() ? internal_error("out of order") : Status();
  }

  std::function<void()> at_launch;      // the device got a step
  std::function<void()> during_step;    // the step takes as long as this does
  std::function<bool()> fails;          // the device, from a wait() on
  std::function<bool(int32_t)> breaks;  // true for tokens that come out of broken logits
  int64_t n_steps = 0;

 private:
  struct Slot {
    int32_t token = -1, position = -1;
  };

  struct Open {
    std::span<SampledToken> out;
    std::vector<SampledToken> tokens;
  };

  int32_t known_id(int32_t token_id) const {
    if (token_id >= 0) return token_id;
    OCTET_CHECK(limits_.runs_ahead) << "nothing is unknown to the host here";
    const int32_t id = last_sampled_.at(static_cast<size_t>(-1 - token_id)).token;
    return id < 0 ? 0 : id;  // of a broken row: any token will do
  }

  void check_shape(const ForwardBatch& batch, const SamplingBatch& sampling,
                   std::span<SampledToken> sampled) const {
    OCTET_CHECK(batch.n_tokens() > 0 && batch.n_tokens() <= limits_.max_step_tokens);
    OCTET_CHECK(batch.n_seqs() <= limits_.max_batch && batch.n_logits() <= limits_.max_rows);
    OCTET_CHECK(batch.positions.size() == batch.token_ids.size() &&
                batch.slots.size() == batch.token_ids.size());
    OCTET_CHECK(static_cast<int32_t>(batch.query_start.size()) == batch.n_seqs() + 1);
    OCTET_CHECK(batch.query_start.front() == 0 && batch.query_start.back() == batch.n_tokens());
    OCTET_CHECK(static_cast<int32_t>(batch.page_table.size()) == batch.n_seqs() * batch.page_table_stride);
    OCTET_CHECK(sampling.rows.size() == sampled.size() && batch.logit_rows.size() == sampled.size());
    for (const SamplingRow& row : sampling.rows) {  // penalties count every token that was generated
      uint64_t n_counted = 0;
      for (int32_t i = row.penalty_begin; i < row.penalty_end; ++i)
        n_counted += static_cast<uint64_t>(sampling.penalties[i].output_count);
      OCTET_CHECK(row.penalty_begin == row.penalty_end || n_counted == row.n_generated);
    }
    for (int32_t s = 0; s < batch.n_seqs(); ++s) {
      const int32_t last = batch.query_start[s + 1] - 1;
      OCTET_CHECK(last >= batch.query_start[s] && batch.context_lens[s] == batch.positions[last] + 1);
      for (int32_t i = batch.query_start[s]; i <= last; ++i) {
        OCTET_CHECK(batch.slots[i] == slot_of(batch, s, batch.positions[i]));
        OCTET_CHECK(i == batch.query_start[s] || batch.positions[i] == batch.positions[i - 1] + 1);
      }
    }
  }

  int32_t slot_of(const ForwardBatch& batch, int32_t sequence, int32_t position) const {
    const int32_t page = batch.page_table[sequence * batch.page_table_stride + position / limits_.page_size];
    return page * limits_.page_size + position % limits_.page_size;
  }

  uint64_t hash_context(const ForwardBatch& batch, int32_t token_index) const {
    const auto after = std::upper_bound(batch.query_start.begin(), batch.query_start.end(), token_index);
    const auto sequence = static_cast<int32_t>(after - batch.query_start.begin()) - 1;
    uint64_t hash = 1;
    for (int32_t position = 0; position <= batch.positions[token_index]; ++position) {
      const Slot& slot = cache_[slot_of(batch, sequence, position)];
      OCTET_CHECK(slot.position == position) << "the cache holds another position here";
      hash = mix(hash, static_cast<uint64_t>(slot.token));
    }
    return hash;
  }

  SampledToken sample(uint64_t hash, const SamplingRow& row, std::span<const TokenBias> biases) const {
    SampledToken result;
    const auto forced = std::ranges::find_if(biases, [](const TokenBias& b) { return b.bias > 1e20f; });
    if (forced != biases.end()) {
      result.token = forced->token;
    } else {
      result.token = next_token(hash, row, limits_.vocab_size, [&](int32_t token) {
        return std::ranges::any_of(biases,
                                   [&](const TokenBias& b) { return b.token == token && b.bias < -1e20f; });
      });
    }
    if (breaks && breaks(result.token)) result.token = -1;
    if (row.n_logprobs >= 0) result.logprob = logprob(hash, result.token);
    for (int32_t i = 0; i < row.n_logprobs; ++i) {
      result.top_tokens[i] = i;
      result.top_logprobs[i] = logprob(hash, i);
    }
    result.n_top = std::max(row.n_logprobs, 0);
    return result;
  }

  const ExecutorLimits limits_;
  std::vector<Slot> cache_;  // [n_pages * page_size]
  Open open_[2];
  int32_t oldest_ = 0, n_open_ = 0;
  std::vector<SampledToken> last_sampled_;
};

struct ExpectedOutput {
  std::vector<int32_t> tokens;  // without a stop token
  FinishReason finish = FinishReason::kNone;
};

// What a sequence gives that nobody disturbs: no pages, no batch, no chunks.
inline ExpectedOutput expected_output(const Request& request, uint64_t seed, const ExecutorLimits& limits,
                                      int32_t max_context) {
  const SamplingParams& s = request.sampling;
  const auto is_stop = [&](int32_t token) {
    return (!s.ignore_eos && std::ranges::count(limits.eos_ids, token) > 0) ||
           std::ranges::count(s.stop_token_ids, token) > 0;
  };
  ExpectedOutput result;
  std::vector<int32_t> text = request.prompt;
  while (result.finish == FinishReason::kNone) {
    SamplingRow row;
    row.temperature = s.temperature;
    row.seed = seed;
    row.n_generated = result.tokens.size();
    const bool go_on = static_cast<int32_t>(result.tokens.size()) < s.min_tokens;
    const int32_t token =
        next_token(hash_text(text), row, limits.vocab_size, [&](int32_t t) { return go_on && is_stop(t); });
    if (!go_on && is_stop(token)) {
      result.finish = FinishReason::kStop;
      break;
    }
    result.tokens.push_back(token);
    text.push_back(token);
    if (static_cast<int32_t>(result.tokens.size()) >= s.max_tokens ||
        static_cast<int32_t>(text.size()) >= max_context) {
      result.finish = FinishReason::kLength;
    }
  }
  return result;
}

}  // namespace octet::fake
