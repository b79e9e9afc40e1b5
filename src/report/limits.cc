#include "report/limits.h"

namespace octet {
namespace {

constexpr double kHalfBytes = 2;
constexpr double kInt4Bytes = 0.5 + 2.0 / 128;  // with a 16-bit scale for every 128 weights

bool starts_with(const std::string& text, const char* prefix) {
  return text.rfind(prefix, 0) == 0;
}

}  // namespace

std::optional<SchemeCost> scheme_cost(const std::string& scheme, const DeviceRates& rates) {
  SchemeCost cost;
  if (scheme == "bf16" || scheme == "fp16") {
    cost = {kHalfBytes, rates.half_flop_s};
  } else if (starts_with(scheme, "w8a16")) {
    cost = {1, rates.half_flop_s};
  } else if (starts_with(scheme, "w4a16")) {
    cost = {kInt4Bytes, rates.half_flop_s};
  } else if (starts_with(scheme, "int8") || starts_with(scheme, "llm-int8")) {
    cost = {1, rates.int8_flop_s};
  } else if (starts_with(scheme, "fp8")) {
    cost = {1, rates.fp8_flop_s};
  }
  return cost.flop_s > 0 && rates.memory_bytes_s > 0 ? std::optional(cost) : std::nullopt;
}

double limit_output_tok_s(const ModelShape& shape, const DeviceRates& rates, const SchemeCost& cost,
                          const LimitQuestion& q) {
  const double batch = q.max_batch, input = q.input_len, output = q.output_len;
  const SchemeCost half{kHalfBytes, rates.half_flop_s};
  const auto product_s = [&](double weights, const SchemeCost& c, double tokens) {
    return seconds_at(rates, c.flop_s, weights * c.weight_bytes, 2 * weights * tokens);
  };
  // Two products of each token's queries with, on average, half of the prompt.
  const double attention_flop = 2 * 2 * shape.attention_width * input * input / 2;
  const double prompts_s = product_s(shape.block_weights, cost, batch * input) +
                           batch * attention_flop / (rates.half_flop_s > 0 ? rates.half_flop_s : cost.flop_s);
  const double context = input + output / 2;
  const double cache_s = batch * context * shape.kv_values * q.kv_bytes / rates.memory_bytes_s;
  const double step_s = product_s(shape.block_weights, cost, batch) +
                        product_s(shape.head_weights, q.quantized_head ? cost : half, batch) + cache_s;
  return batch * output / (prompts_s + output * step_s);
}

}  // namespace octet
