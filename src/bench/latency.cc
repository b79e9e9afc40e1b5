#include <algorithm>

#include <nlohmann/json.hpp>

#include "bench/offline.h"

namespace octet {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Sequences with consecutive pages of their own, driven by hand: no scheduler between the clock and the
// model.
class Driver {
 public:
  Driver(Model& model, int32_t tokens_per_sequence)
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

}  // namespace

Result<LatencyResult> bench_latency(Model& model, const LatencyOptions& options) {
  const int32_t largest = *std::max_element(options.decode_batches.begin(), options.decode_batches.end());
  const int32_t length = std::max(options.prefill, options.context + options.decode_steps);
  Driver driver(model, length);
  if (largest > model.max_batch() || std::max(options.prefill, options.context) > model.max_step_tokens() ||
      length > model.max_context() || int64_t{driver.pages()} * largest > model.cache().n_pages) {
    return invalid_argument(
        "the batch, prompt or context asked for is larger than what the model was loaded for");
  }
  LatencyResult result;
  std::vector<double> seconds;
  for (int32_t repeat = -1; repeat < options.repeats; ++repeat) {  // the first one warms up
    driver.add(0, 0, options.prefill);
    const double s = driver.run();
    if (repeat >= 0) seconds.push_back(s);
  }
  result.prefill_ms = median(seconds) * 1e3;
  result.prefill_tok_s = options.prefill / median(seconds);

  for (const int32_t batch : options.decode_batches) {
    for (int32_t s = 0; s < batch; ++s) {
      driver.add(s, 0, options.context);
      driver.run();
    }
    std::vector<double> steps;
    for (int32_t repeat = -1; repeat < options.repeats; ++repeat) {
      double total = 0;
      for (int32_t step = 0; step < options.decode_steps; ++step) {
        for (int32_t s = 0; s < batch; ++s) driver.add(s, options.context + step, 1);
        total += driver.run();
      }
      if (repeat >= 0) steps.push_back(total / options.decode_steps);
    }
    OCTET_RETURN_IF_ERROR(driver.status());
    result.decode.push_back({batch, batch / median(steps), median(steps) * 1e3});
  }
  return result;
}

nlohmann::ordered_json to_json(const LatencyResult& r) {
  nlohmann::ordered_json decode = nlohmann::ordered_json::array();
  for (const auto& d : r.decode) {
    decode.push_back({{"batch", d.batch}, {"tok_s", d.tok_s}, {"step_ms", d.step_ms}});
  }
  return {{"prefill_tok_s", r.prefill_tok_s}, {"prefill_ms", r.prefill_ms}, {"decode", decode}};
}

}  // namespace octet
