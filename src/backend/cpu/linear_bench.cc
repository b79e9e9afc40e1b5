// Linear layers of SmolLM2-135M, for each instruction set and scheme: GOP/s (a multiplication and its
// addition are two), and GB/s of weights. Small products rotate over copies of the weight, so that it comes
// from memory as in a decode step; `read` is the rate at which memory gives it at best.
//
//   octet_linear_bench --benchmark_filter=avx2/int8    (threads: as many as the CPUs it may run on)
#include <random>

#include <benchmark/benchmark.h>
#include <sched.h>

#include "backend/cpu/linear.h"

namespace octet {
namespace {

constexpr size_t kColdBytes = size_t{384} << 20;  // beyond the caches

ThreadPool& pool() {
  static ThreadPool pool([] {
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  }());
  return pool;
}

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {
    {"qkv", 960, 576}, {"o", 576, 576}, {"gate_up", 3072, 576}, {"down", 576, 1536}, {"head", 49152, 576}};

std::vector<uint8_t> random_codes(QType type, int64_t rows, int64_t k) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows) * code_bytes(type, k));
  for (auto& byte : bytes) byte = 0x38 | (random() & 7);  // a small number in every type, none subnormal
  return bytes;
}

void run_linear(benchmark::State& state, Isa isa, const std::string& scheme, const Shape& shape, int64_t m) {
  LinearWeights weights;
  weights.n = shape.n;
  weights.k = shape.k;
  weights.scheme = *scheme_by_name(scheme);
  const QuantArgs& input = weights.scheme.input;
  const auto codes = random_codes(weights.scheme.weight.type, shape.n, shape.k);
  const auto n_scales = std::max<int64_t>(scale_count(weights.scheme.weight, shape.n, shape.k), 1);
  const std::vector<float> w_scale(static_cast<size_t>(n_scales), 0.01f);
  weights.data = codes.data();
  weights.scale = w_scale.data();
  const size_t copies = m > 16 ? 1 : kColdBytes / codes.size() + 1;
  HugePages memory;
  std::vector<std::unique_ptr<PackedLinear>> packed;
  for (size_t i = 0; i < copies; ++i) packed.push_back(*pack_linear(weights, isa, pool(), memory));

  auto a_codes = random_codes(input.type, m, shape.k);
  std::vector<float> a_scale(static_cast<size_t>(m), 0.01f), d(static_cast<size_t>(m * shape.n));
  QView a;
  a.data = a_codes.data();
  a.args = input;
  a.rows = m;
  a.cols = a.stride = shape.k;
  a.scale = a_scale.data();
  // One column in 200 has outliers, in every row.
  std::vector<uint16_t> outliers(static_cast<size_t>(m * shape.k));
  std::vector<int32_t> outlier_count(static_cast<size_t>(m), static_cast<int32_t>((shape.k + 199) / 200));
  for (size_t i = 0; i < outliers.size(); ++i)
    outliers[i] = i % static_cast<size_t>(shape.k) % 200 == 0 ? 0x4100 : 0;
  a.outliers = outliers.data();
  a.outlier_count = outlier_count.data();
  const View out{d.data(), DType::kF32, m, shape.n, shape.n};
  size_t next = 0;
  for (auto _ : state) {
    linear(a, *packed[next], out, pool());
    next = (next + 1) % copies;
  }
  using benchmark::Counter;
  const auto flags = Counter::kIsIterationInvariantRate;
  state.counters["GOP/s"] = Counter(2e-9 * static_cast<double>(m * shape.n * shape.k), flags);
  state.counters["GB/s"] = Counter(1e-9 * static_cast<double>(packed[0]->bytes), flags);
}

void read_memory(benchmark::State& state) {
  HugePages pages;
  const auto n = static_cast<int64_t>(kColdBytes / sizeof(uint64_t));
  const auto owner = pages.allocate(kColdBytes);
  auto* memory = reinterpret_cast<uint64_t*>(owner.get());
  std::fill(memory, memory + n, 1);
  for (auto _ : state) {
    pool().parallel_for(n, 1 << 17, [&](int64_t begin, int64_t end, int) {
      uint64_t sum[8] = {};
      for (int64_t i = begin; i < end; i += 8) {
        __builtin_prefetch(memory + i + 512);
        for (int64_t lane = 0; lane < 8; ++lane) sum[lane] += memory[i + lane];
      }
      for (uint64_t lane : sum) benchmark::DoNotOptimize(lane);
    });
  }
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(kColdBytes),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  benchmark::RegisterBenchmark("read", read_memory)->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const Isa isa : supported_isas()) {
    for (const char* scheme :
         {"int8-minmax", "llm-int8", "fp8", "bf16", "fp16", "f32", "w8a16", "w8a16-fp8", "w4a16:64"}) {
      for (const Shape& shape : kShapes) {
        for (const int64_t m : {1, 4, 16, 512}) {
          if (m > 16 && shape.n > 4096) continue;  // prefill wants one row of logits
          const std::string name =
              std::string(isa_name(isa)) + "/" + scheme + "/" + shape.name + "/m:" + std::to_string(m);
          benchmark::RegisterBenchmark(name.c_str(), run_linear, isa, scheme, shape, m)
              ->UseRealTime()
              ->MinTime(0.1)
              ->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace octet
