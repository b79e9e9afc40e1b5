// The most output tokens a second that a device allows: each weight and each byte of the KV cache read once a
// step, products at given rates, and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/device_rates.h"

namespace octet {

// What a step of a model reads and computes.
struct ModelShape {
  double block_weights = 0;    // in the linear layers of the blocks
  double head_weights = 0;     // in the output head
  double kv_values = 0;        // a token's, keys and values of all layers
  double attention_width = 0;  // query values of a token, over all layers
};

// What a scheme makes of a weight.
struct SchemeCost {
  double weight_bytes = 2;
  double flop_s = 0;  // of products
};
// Nothing where the name or its rate is not known.
std::optional<SchemeCost> scheme_cost(const std::string& scheme, const DeviceRates& rates);

struct LimitQuestion {
  int32_t input_len = 0, output_len = 0, max_batch = 1;
  double kv_bytes = 2;          // a value of the cache
  bool quantized_head = false;  // else in 16 bits
};

// Output tokens a second with max_batch sequences always running, as many more waiting as it takes. Decode
// steps and prompts one after another: a step of decoding reads the weights or multiplies, whichever takes
// longer, and reads the cache; prompts the same, with attention among their own tokens.
double limit_output_tok_s(const ModelShape& shape, const DeviceRates& rates, const SchemeCost& cost,
                          const LimitQuestion& question);

}  // namespace octet
