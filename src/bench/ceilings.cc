#include "bench/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>

#include <nlohmann/json.hpp>

#include "backend/op_cost.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kCopyBytes = int64_t{1} << 28;  // more than caches hold
constexpr int kRepeats = 12;                      // the best of these
constexpr int kRunsAhead = 8;  // asked for at once, where that takes a part of an op's time

// A product whose operands are large enough for the best rate, and small enough for a moment.
struct Product {
  int64_t m, n, k;
};
Product product_of(const Ops& ops) {
  return ops.info().runs_ahead ? Product{4096, 8192, 4096} : Product{256, 2048, 1024};
}

// One row: the weight is read, and that is all. Ten times what a device's caches hold.
Product reading_of(const Ops& ops) {
  return ops.info().runs_ahead ? Product{1, 65536, 4096} : Product{1, 16384, 4096};
}

// Of one run. To ask for a run and to wait for its end takes some 10 us on a device that runs ahead: there
// several follow one another.
Result<double> best_seconds(Ops& ops, const std::function<void()>& op) {
  const int runs = ops.info().runs_ahead ? kRunsAhead : 1;
  double best = 0;
  for (int repeat = -1; repeat < kRepeats; ++repeat) {  // the first one warms up
    OCTET_RETURN_IF_ERROR(ops.synchronize());
    const auto start = Clock::now();
    for (int i = 0; i < runs; ++i) op();
    OCTET_RETURN_IF_ERROR(ops.synchronize());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / runs;
    if (repeat == 0 || (repeat > 0 && seconds < best)) best = seconds;
  }
  return best;
}

// Rows of a matrix, once read and once written; bytes a second of both.
Result<double> copy_rate(Ops& ops, int64_t cols) {
  const DType type = ops.info().activation;
  const auto row_bytes = static_cast<int64_t>(dtype_bytes(type, static_cast<size_t>(cols)));
  const auto rows = static_cast<int32_t>(kCopyBytes / row_bytes);
  const auto bytes = static_cast<size_t>(rows * row_bytes);
  OCTET_ASSIGN_OR_RETURN(const Buffer from, ops.allocate(bytes));
  OCTET_ASSIGN_OR_RETURN(const Buffer to, ops.allocate(bytes));
  OCTET_ASSIGN_OR_RETURN(const Buffer order, ops.allocate(static_cast<size_t>(rows) * sizeof(int32_t)));
  std::vector<int32_t> in_order(static_cast<size_t>(rows));
  std::iota(in_order.begin(), in_order.end(), 0);
  ops.upload(order.data(), in_order.data(), in_order.size() * sizeof(int32_t));
  const View source{from.data(), type, rows, cols, cols}, target{to.data(), type, rows, cols, cols};
  OCTET_ASSIGN_OR_RETURN(const double seconds, best_seconds(ops, [&] {
                           ops.gather_rows(source, order.as<int32_t>(), rows, target);
                         }));
  return 2.0 * static_cast<double>(bytes) / seconds;
}

// Codes that are no NaN in any type, and no two neighbours alike; the same in every megabyte.
std::vector<uint8_t> some_codes(QType type, int64_t n, int64_t k) {
  std::vector<uint8_t> codes(static_cast<size_t>(n) * code_bytes(type, k));
  const size_t drawn = std::min(codes.size(), size_t{1} << 20);
  uint32_t state = 1;
  for (size_t i = 0; i < drawn; ++i) {
    state = state * 1664525 + 1013904223;
    const auto byte = static_cast<uint8_t>(state >> 24);
    codes[i] = type == QType::kBF16 && i % 2 == 1 ? (byte & 0x80) | 0x3c : byte & 0xb7;
  }
  for (size_t at = drawn; at < codes.size(); at += drawn)
    std::memcpy(codes.data() + at, codes.data(), std::min(drawn, codes.size() - at));
  return codes;
}

struct Rates {
  double bytes_s = 0, flop_s = 0;
};

// Of a product in this scheme; zeros where the backend does not take it.
Result<Rates> product_rates(Ops& ops, const std::string& name, const Product& p) {
  OCTET_ASSIGN_OR_RETURN(const QuantScheme scheme, scheme_by_name(name));
  const std::vector<uint8_t> codes = some_codes(scheme.weight.type, p.n, p.k);
  const std::vector<float> scale(static_cast<size_t>(p.n), 0.01f);
  LinearWeights weights{.n = p.n, .k = p.k, .scheme = scheme, .data = codes.data()};
  if (scheme.weight.quantized()) weights.scale = scale.data();
  auto packed = ops.pack(weights);
  if (packed.status().code() == StatusCode::kUnsupported) return Rates{};
  if (!packed.ok()) return packed.status();
  OCTET_ASSIGN_OR_RETURN(const Buffer input,
                         ops.allocate(static_cast<size_t>(p.m) * code_bytes(scheme.input.type, p.k)));
  OCTET_ASSIGN_OR_RETURN(const Buffer input_scale, ops.allocate(static_cast<size_t>(p.m) * sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(const Buffer output,
                         ops.allocate(dtype_bytes(ops.info().activation, static_cast<size_t>(p.m * p.n))));
  const std::vector<uint8_t> values = some_codes(scheme.input.type, p.m, p.k);
  const std::vector<float> scales(static_cast<size_t>(p.m), 0.01f);
  ops.upload(input.data(), values.data(), values.size());
  ops.upload(input_scale.data(), scales.data(), scales.size() * sizeof(float));
  const QView a{.data = input.data(),
                .args = scheme.input,
                .rows = p.m,
                .cols = p.k,
                .stride = p.k,
                .scale = scheme.input.quantized() ? input_scale.as<float>() : nullptr};
  const View d{output.data(), ops.info().activation, p.m, p.n, p.n};
  OCTET_ASSIGN_OR_RETURN(const double seconds, best_seconds(ops, [&] { ops.linear(a, **packed, d); }));
  const OpCost cost = linear_cost(a, **packed, view_bytes(d));
  return Rates{cost.bytes / seconds, cost.flop / seconds};
}

}  // namespace

Result<Ceilings> measure_ceilings(Ops& ops) {
  const Product p = product_of(ops), reading = reading_of(ops);
  OCTET_RETURN_IF_ERROR(ops.reserve({.max_tokens = static_cast<int32_t>(p.m),
                                     .max_seqs = 1,
                                     .max_context = 128,
                                     .max_logits = 1,
                                     .vocab_size = 128,
                                     .max_cols = std::max(p.n, reading.n),
                                     .attention = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 128}}));
  Ceilings ceilings;
  OCTET_ASSIGN_OR_RETURN(ceilings.copy_bytes_s, copy_rate(ops, p.k));
  OCTET_ASSIGN_OR_RETURN(const Rates read, product_rates(ops, "bf16", reading));
  ceilings.read_bytes_s = read.bytes_s;
  const auto known = known_rates(ops.info().device);
  ceilings.documented = known.has_value();
  DeviceRates& rates = ceilings.rates;
  if (known.has_value()) {
    rates = *known;
  } else {
    for (const auto& [scheme, rate] : {std::pair{"bf16", &rates.half_flop_s},
                                       {"int8-minmax", &rates.int8_flop_s},
                                       {"fp8", &rates.fp8_flop_s}}) {
      OCTET_ASSIGN_OR_RETURN(const Rates measured, product_rates(ops, scheme, p));
      *rate = measured.flop_s;
    }
  }
  rates.memory_bytes_s = std::max(ceilings.copy_bytes_s, ceilings.read_bytes_s);
  return ceilings;
}

double product_rate(const DeviceRates& rates, QType input) {
  return input == QType::kFp8    ? rates.fp8_flop_s
         : input == QType::kInt8 ? rates.int8_flop_s
                                 : rates.half_flop_s;
}

nlohmann::ordered_json to_json(const Ceilings& c) {
  return {{"memory_bytes_s", c.rates.memory_bytes_s},
          {"copy_bytes_s", c.copy_bytes_s},
          {"read_bytes_s", c.read_bytes_s},
          {"half_flop_s", c.rates.half_flop_s},
          {"int8_flop_s", c.rates.int8_flop_s},
          {"fp8_flop_s", c.rates.fp8_flop_s},
          {"products", c.documented ? "documented" : "measured"}};
}

}  // namespace octet
