#include "advise/measure_steps.h"

#include <algorithm>
#include <set>

#include "base/median.h"
#include "bench/step_driver.h"

namespace octet {
namespace {

constexpr int32_t kShortContext = 16;
constexpr size_t kLeastSamples = 3, kMostSamples = 25;

// A chunk of a sequence in a step.
struct Chunk {
  int32_t first, n;
};

// 1, 2, 4, ... and `largest` itself.
std::vector<int32_t> doublings(int32_t first, int32_t factor, int32_t largest) {
  std::vector<int32_t> values;
  for (int32_t v = first; v < largest; v *= factor) values.push_back(v);
  values.push_back(largest);
  return values;
}

// `tokens` of prompts, each of `length` at most.
std::vector<Chunk> prompts(int32_t tokens, int32_t length) {
  std::vector<Chunk> chunks;
  for (; tokens > 0; tokens -= chunks.back().n) chunks.push_back({0, std::min(tokens, length)});
  return chunks;
}

std::vector<std::vector<Chunk>> steps_to_time(const Model& model, const MeasureOptions& options,
                                              int32_t pages_per_sequence) {
  const int32_t most_sequences = std::min(model.max_batch(), model.cache().n_pages / pages_per_sequence);
  const int32_t length = options.input_len + options.output_len;
  std::vector<std::vector<Chunk>> steps;
  for (const int32_t batch : doublings(1, 2, most_sequences)) {
    for (const int32_t context : {std::min(kShortContext, length / 2), length - 1}) {
      steps.emplace_back(static_cast<size_t>(batch), Chunk{context, 1});
    }
  }
  const int32_t step_tokens =
      std::min<int64_t>(model.max_step_tokens(), int64_t{options.input_len} * most_sequences);
  for (const int32_t tokens : doublings(std::min(8, step_tokens), 4, step_tokens)) {
    for (const int32_t length : {options.input_len, std::max(2, options.input_len / 4)}) {
      auto chunks = prompts(tokens, length);
      if (chunks.size() <= static_cast<size_t>(most_sequences)) steps.push_back(std::move(chunks));
      if (length >= tokens) break;  // the shorter prompts make the same step
    }
  }
  // A prompt beside decodes: a few tokens more can take another round of a product's tiles.
  for (const int32_t decodes : std::set{std::min(4, most_sequences - 1), most_sequences / 2}) {
    if (decodes < 1 || options.input_len + decodes > model.max_step_tokens()) continue;
    auto& chunks = steps.emplace_back(static_cast<size_t>(decodes), Chunk{length - 1, 1});
    chunks.push_back({0, options.input_len});
  }
  // A prompt longer than a step: its later chunks read those before them.
  if (const int32_t chunk = std::min(model.max_step_tokens(), options.input_len / 2); chunk > 1) {
    steps.push_back({{options.input_len - chunk, chunk}});
  }
  return steps;
}

}  // namespace

// The cache holds no text: how long a step takes does not depend on what the keys are.
Result<std::vector<StepPoint>> measure_steps(Model& model, const MeasureOptions& options) {
  const int32_t length = options.input_len + options.output_len;
  if (length > model.max_context()) {
    return invalid_argument("requests of " + std::to_string(length) +
                            " tokens are longer than the context of " + std::to_string(model.max_context()));
  }
  StepDriver driver(model, length);
  std::vector<StepPoint> points;
  for (const auto& chunks : steps_to_time(model, options, driver.pages())) {
    StepPoint point;
    for (const Chunk& chunk : chunks) point.shape.add(chunk.first, chunk.n);
    point.shape.rows = static_cast<double>(chunks.size());
    std::vector<double> seconds;
    double total = 0;
    for (bool warm = false;
         seconds.size() < kLeastSamples || (total < options.seconds && seconds.size() < kMostSamples);
         warm = true) {
      for (size_t s = 0; s < chunks.size(); ++s) {
        driver.add(static_cast<int32_t>(s), chunks[s].first, chunks[s].n);
      }
      const double took = driver.run();
      OCTET_RETURN_IF_ERROR(driver.status());
      if (!warm) continue;
      seconds.push_back(took);
      total += took;
    }
    point.seconds = median(seconds);
    points.push_back(point);
  }
  return points;
}

std::vector<StepPoint> mean_of_rounds(std::vector<StepPoint> first, const std::vector<StepPoint>& second) {
  OCTET_CHECK(first.size() == second.size());
  for (size_t i = 0; i < first.size(); ++i) {
    OCTET_CHECK(first[i].shape == second[i].shape);
    first[i].seconds = (first[i].seconds + second[i].seconds) / 2;
  }
  return first;
}

double time_ratio(const std::vector<StepPoint>& before, const std::vector<StepPoint>& now) {
  std::vector<double> ratios;
  for (const StepPoint& then : before) {
    const auto same = std::ranges::find(now, then.shape, &StepPoint::shape);
    if (same != now.end()) ratios.push_back(same->seconds / then.seconds);
  }
  return ratios.empty() ? 1 : median(std::move(ratios));
}

}  // namespace octet
