// What the device can do, by the backend's own ops.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "bench/profile.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kCopyBytes = int64_t{1} << 28;  // more than caches hold
constexpr int kRepeats = 12;                      // the best of these

// A product whose operands are large enough for the best rate, and small enough for a moment.
struct Product {
  int64_t m, n, k;
};
// One row: the weight is read, and that is all.
constexpr Product kReading{1, 16384, 4096};

Product product_of(const Ops& ops) {
  return ops.info().runs_ahead ? Product{4096, 8192, 4096} : Product{256, 2048, 1024};
}

Result<double> best_seconds(Ops& ops, const std::function<void()>& op) {
  double best = 0;
  for (int repeat = -1; repeat < kRepeats; ++repeat) {  // the first one warms up
    OCTET_RETURN_IF_ERROR(ops.synchronize());
    const auto start = Clock::now();
    op();
    OCTET_RETURN_IF_ERROR(ops.synchronize());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
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

// Codes that are no NaN in any type, and no two neighbours alike.
std::vector<uint8_t> some_codes(QType type, int64_t n, int64_t k) {
  std::vector<uint8_t> codes(static_cast<size_t>(n) * code_bytes(type, k));
  uint32_t state = 1;
  for (size_t i = 0; i < codes.size(); ++i) {
    state = state * 1664525 + 1013904223;
    const auto byte = static_cast<uint8_t>(state >> 24);
    codes[i] = type == QType::kBF16 && i % 2 == 1 ? (byte & 0x80) | 0x3c : byte & 0xb7;
  }
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
  const OpCost cost = linear_cost(a, **packed, d);
  return Rates{cost.bytes / seconds, cost.flop / seconds};
}

}  // namespace

Result<KernelCeilings> measure_ceilings(Ops& ops, bool& documented) {
  const Product p = product_of(ops);
  OCTET_RETURN_IF_ERROR(ops.reserve({.max_tokens = static_cast<int32_t>(p.m),
                                     .max_seqs = 1,
                                     .max_context = 128,
                                     .max_logits = 1,
                                     .vocab_size = 128,
                                     .max_cols = p.n,
                                     .attention = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 128}}));
  KernelCeilings ceilings = documented_ceilings(ops.info().device);
  documented = ceilings.half_flop_s > 0;
  OCTET_ASSIGN_OR_RETURN(ceilings.copy_bytes_s, copy_rate(ops, p.k));
  if (!ops.info().runs_ahead) {  // a processor that writes reads first: reading alone is faster
    OCTET_ASSIGN_OR_RETURN(const Rates rates, product_rates(ops, "bf16", kReading));
    ceilings.copy_bytes_s = std::max(ceilings.copy_bytes_s, rates.bytes_s);
  }
  if (documented) return ceilings;
  OCTET_ASSIGN_OR_RETURN(const Rates half, product_rates(ops, "bf16", p));
  ceilings.half_flop_s = half.flop_s;
  OCTET_ASSIGN_OR_RETURN(const Rates int8, product_rates(ops, "int8-minmax", p));
  ceilings.int8_flop_s = int8.flop_s;
  OCTET_ASSIGN_OR_RETURN(const Rates fp8, product_rates(ops, "fp8", p));
  ceilings.fp8_flop_s = fp8.flop_s;
  return ceilings;
}

}  // namespace octet
