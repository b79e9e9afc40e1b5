// Steps of a model put together by hand, for those who time them.
#pragma once

#include <chrono>
#include <vector>

#include "engine/request.h"
#include "model/model.h"

namespace octet {

// Sequences with consecutive pages of their own, driven by hand: no scheduler between the clock and the
// model.
class StepDriver {
 public:
  StepDriver(Model& model, int32_t tokens_per_sequence)
      : model_(model),
        pages_((tokens_per_sequence + model.cache().page_size - 1) / model.cache().page_size) {}

  int32_t pages() const { return pages_; }

  // Adds `n` tokens of sequence `s` from `position`; the last one's logits are wanted.
  void add(int32_t s, int32_t position, int32_t n) {
    const int32_t page_size = model_.cache().page_size;
    if (batch_.query_start.empty()) batch_.query_start.push_back(0);
    for (int32_t i = 0; i < n; ++i) {
      const int32_t p = position + i;
      batch_.token_ids.push_back((1000 + p * 7 + s * 13) % model_.config().vocab_size);
      batch_.positions.push_back(p);
      batch_.slots.push_back((s * pages_ + p / page_size) * page_size + p % page_size);
    }
    batch_.query_start.push_back(batch_.n_tokens());
    batch_.context_lens.push_back(position + n);
    for (int32_t page = 0; page < pages_; ++page) batch_.page_table.push_back(s * pages_ + page);
    batch_.page_table_stride = pages_;
    batch_.logit_rows.push_back(batch_.n_tokens() - 1);
  }

  // Runs what was added and samples greedily; returns the seconds it took.
  double run() {
    sampling_.rows.assign(static_cast<size_t>(batch_.n_logits()), SamplingRow{});
    sampled_.resize(sampling_.rows.size());
    const auto start = Clock::now();
    const View logits = model_.forward(batch_);
    model_.ops().sample(logits, sampling_, sampled_.data());
    status_ = model_.ops().synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    batch_.clear();
    return seconds;
  }
  const Status& status() const { return status_; }  // a device that failed stays failed

 private:
  Model& model_;
  Status status_;
  int32_t pages_;
  ForwardBatch batch_;
  SamplingBatch sampling_;
  std::vector<SampledToken> sampled_;
};

}  // namespace octet
