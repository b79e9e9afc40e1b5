// What `octet bench serve` sends to a server and what it sees come back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octet {

struct LoadRequest {
  double arrival = 0;  // seconds after the start
  // Either token ids (/v1/completions) or messages as a JSON array (/v1/chat/completions).
  std::vector<int32_t> prompt_ids;
  std::string messages;
  int32_t output_len = 0;  // exact where the server takes ignore_eos, else at most
};

// Times in seconds from the moment the request was sent.
struct LoadResult {
  std::string error;  // empty: it went through
  double sent = 0;    // after the start of the run
  double first_token = 0, last_token = 0, end = 0;
  std::vector<float> gaps;  // between events that carry text
  int64_t input_tokens = 0, output_tokens = 0;
  bool ok() const { return error.empty(); }
};

}  // namespace octet
