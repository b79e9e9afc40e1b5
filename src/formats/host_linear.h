// One linear module in host memory, in the codes of its scheme: what readers of stored schemes give, what
// loading packs, and what a checkpoint is written from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace octet {

struct HostLinear {
  int64_t n = 0, k = 0;
  QuantScheme scheme;
  std::vector<uint8_t> codes;             // [n, code_bytes(k)]
  std::vector<float> scale;               // [scale_count]: one a channel, one in all, or [n, groups]
  std::vector<float> bias;                // [n] or empty
  std::vector<float> input_scale;         // [1] where the input is static, else empty
  std::vector<int32_t> input_zero_point;  // [1] where it has one, in [-128, 127], else empty
};

// A module that the checkpoint holds in a quantized scheme. Errors: kCorrupt for scales that are no positive
// finite numbers and for zero points that are no int8 codes, naming the tensor.
Result<HostLinear> read_stored_linear(const Checkpoint& checkpoint, const std::string& module);

// All values of a tensor as float32; kCorrupt where there are not exactly `n`.
Result<std::vector<float>> read_values(const Checkpoint& checkpoint, const std::string& name, int64_t n);

// Static scales of a layer's keys and values, [n_kv_heads] each, for a checkpoint whose kv_quant is static.
struct KvScales {
  std::vector<float> k, v;
};
Result<KvScales> read_kv_scales(const Checkpoint& checkpoint, int32_t layer);

}  // namespace octet
