// What a run against a server comes to, under the names of `vllm bench serve`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "bench/load_types.h"

namespace octet {

// Upper bounds in ms that a request must keep to count for goodput: "ttft", "tpot", "e2el".
using Goodput = std::map<std::string, double>;
Result<Goodput> parse_goodput(const std::vector<std::string>& texts);  // "ttft:500"

struct LoadReport {
  int64_t completed = 0, failed = 0, total_input_tokens = 0, total_output_tokens = 0;
  double duration = 0;  // from the first request sent to the last end, s
  double request_throughput = 0, output_throughput = 0, total_token_throughput = 0;
  double request_goodput = 0;  // requests a second that kept every bound; 0 without bounds
  struct Times {               // ms
    double mean = 0, median = 0, std = 0, p90 = 0, p99 = 0;
  };
  Times ttft, tpot, itl, e2el;
  std::string first_error;
};

// TTFT, TPOT, ITL and E2EL of requests that went through. TPOT: (last token - first token) / (output tokens -
// 1).
LoadReport summarize_load(const std::vector<LoadResult>& results, const std::vector<LoadRequest>& requests,
                          const Goodput& bounds);

nlohmann::ordered_json to_json(const LoadReport& report);
// One entry a request: ttfts, itls, input_lens, output_lens, errors.
nlohmann::ordered_json details_json(const std::vector<LoadResult>& results);
std::string to_table(const LoadReport& report);

// Of paired runs a_i, b_i of two servers: the median of the ratios a / b and a 95 % interval of it (bootstrap
// over the pairs). With fewer than three pairs the interval is that of the ratios themselves.
struct Ratio {
  double median = 0, low = 0, high = 0;
};
Ratio ratio_of(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace octet
