// Where the requests of `octet bench serve` come from: exact random lengths, conversations, recorded traces;
// and when they arrive.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "bench/load_types.h"

namespace octet {

struct RandomLoad {
  int32_t n_requests = 100;
  int32_t input_len = 1024, output_len = 128;
  double range_ratio = 0;                        // lengths are uniform in [len * (1 - r), len * (1 + r)]
  int32_t token_low = 1000, token_high = 30000;  // ids of prompts, drawn from [low, high)
};
std::vector<LoadRequest> random_load(const RandomLoad& load, uint64_t seed);

// First turns of conversations. A file of JSON objects, as an array or one a line, each with `messages`
// (role, content), `conversations` (from, value: ShareGPT), `turns` (MT-bench) or `prompt`. Errors name file
// and entry.
Result<std::vector<LoadRequest>> chat_load(const std::string& path, int32_t n_requests, int32_t output_len,
                                           uint64_t seed);

// Arrivals and lengths as they were recorded: Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens) or
// Mooncake's JSON Lines (timestamp in ms, input_length, output_length, hash_ids: equal ids, equal blocks of
// 512 tokens). `speed` 2 replays twice as fast. Requests longer than max_len tokens in all are left out.
Result<std::vector<LoadRequest>> trace_load(const std::string& path, int32_t n_requests, double speed,
                                            int32_t max_len, const RandomLoad& tokens);

// Sets arrivals: gamma distributed gaps with a mean of 1 / rate and the shape `burstiness` (1: Poisson;
// below: bursts; above: even). rate 0: all at once.
void set_arrivals(std::vector<LoadRequest>& requests, double rate, double burstiness, uint64_t seed);

}  // namespace octet
