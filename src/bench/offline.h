// Measurements without a server in between.
//
//   throughput   requests of exact lengths through the engine, all queued at once or arriving at a rate
//   latency      the model's own steps: a prefill of n tokens, decode steps of b sequences; what llama.cpp's
//   bench shows
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/engine.h"
#include "model/model.h"

namespace octet {

struct ThroughputOptions {
  int32_t input_len = 128, output_len = 128;
  int32_t requests = 16;
  double rate = 0;  // requests a second, Poisson; 0: all at once
  uint64_t seed = 1;
  std::vector<double> arrivals;  // seconds, one a request, ascending: in place of a rate
};

// A file of such seconds, one a line. Errors: kNotFound, kCorrupt with the line.
Result<std::vector<double>> read_arrivals(const std::string& path);

// When each request comes, from the first on; zeros where all come at once. The same seed, the same times.
std::vector<double> arrival_seconds(const ThroughputOptions& options);

struct Percentiles {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0;
};
Percentiles percentiles(std::vector<double> values);  // of an empty list: zeros

struct ThroughputResult {
  double seconds = 0;
  int64_t input_tokens = 0, output_tokens = 0;
  double output_tok_s = 0, total_tok_s = 0, request_s = 0;
  Percentiles ttft_ms, tpot_ms;
};

// Errors: kInvalidArgument where a request does not fit into the context.
Result<ThroughputResult> bench_throughput(Engine& engine, const ModelConfig& config,
                                          const ThroughputOptions& options);

struct LatencyOptions {
  int32_t prefill = 512;  // tokens of the measured prompt
  std::vector<int32_t> decode_batches = {1, 4, 16};
  int32_t context = 128;  // tokens in each sequence's cache before decoding
  int32_t decode_steps = 32;
  int32_t repeats = 5;  // medians of these
};

struct LatencyResult {
  struct Decode {
    int32_t batch = 0;
    double tok_s = 0, step_ms = 0;
  };
  double prefill_tok_s = 0, prefill_ms = 0;
  std::vector<Decode> decode;
};

Result<LatencyResult> bench_latency(Model& model, const LatencyOptions& options);

nlohmann::ordered_json to_json(const ThroughputResult& result);
nlohmann::ordered_json to_json(const LatencyResult& result);

}  // namespace octet
