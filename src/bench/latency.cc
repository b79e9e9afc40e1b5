#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/median.h"
#include "bench/offline.h"
#include "bench/step_driver.h"

namespace octet {
Result<LatencyResult> bench_latency(Model& model, const LatencyOptions& options) {
  const int32_t largest = *std::max_element(options.decode_batches.begin(), options.decode_batches.end());
  const int32_t length = std::max(options.prefill, options.context + options.decode_steps);
  StepDriver driver(model, length);
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
