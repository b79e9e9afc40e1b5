#include "bench/kernels.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "formats/test_util.h"

namespace octet {
namespace {

constexpr char kH100[] = "NVIDIA H100 80GB HBM3, CUDA device 0";

Result<KernelReport> measure(const KernelBenchOptions& options) {
  auto ops = make_cpu_ops({.n_threads = 1});
  EXPECT_TRUE(ops.ok());
  ModelOptions model;
  model.scheme = "int8-minmax";
  return bench_kernels(testing::random_checkpoint(testing::small_llama_config(6, 256)),
                       std::move(ops).value(), model, options);
}

TEST(KernelBench, MeasuresEveryOpOfAModel) {
  KernelBenchOptions options;
  options.tokens = {1, 40};
  options.batches = {3};
  options.contexts = {20};
  options.prompts = {24};
  options.seconds = 1e-4;
  options.repeats = 1;
  const auto report = measure(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  std::multiset<std::string> ops;
  for (const KernelRow& row : report->rows) {
    ops.insert(row.op);
    EXPECT_GT(row.us, 0) << row.op;
    EXPECT_GT(row.share, 0) << row.op;  // of the rate of memory, which was measured
    EXPECT_EQ(row.library_us, 0) << row.op;
  }
  for (const char* op :
       {"linear qkv", "linear o", "linear gate_up", "linear down", "norm", "silu_mul", "rope_write_kv"})
    EXPECT_EQ(ops.count(op), 2u) << op;
  for (const char* op : {"attention decode", "attention prefill", "sample greedy"})
    EXPECT_EQ(ops.count(op), 1u) << op;
  EXPECT_EQ(ops.count("linear head"), 1u);  // 40 rows of logits are more than the model gives

  const auto find = [&](const std::string& op, int64_t rows) {
    return *std::ranges::find_if(report->rows, [&](const auto& r) { return r.op == op && r.rows == rows; });
  };
  const KernelRow gate_up = find("linear gate_up", 40);
  EXPECT_EQ(gate_up.shape, "256x64");
  EXPECT_EQ(gate_up.flop, 2.0 * 40 * 256 * 64);
  EXPECT_GE(gate_up.bytes, 256 * 64 + 40 * 64 + 40 * 256 * 4);
  EXPECT_EQ(find("norm", 40).bytes, 40.0 * 64 * (4 + 1));
  EXPECT_EQ(find("attention decode", 3).flop, 4.0 * 3 * 20 * 64);
  EXPECT_EQ(find("attention prefill", 24).flop, 4.0 * 300 * 64);
}

TEST(KernelBench, RefusesSizesThatAreNone) {
  KernelBenchOptions options;
  options.tokens = {8, 0};
  EXPECT_EQ(measure(options).status().code(), StatusCode::kInvalidArgument);
  options.tokens = {8};
  options.contexts = {257};
  const auto report = measure(options);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("256"), std::string::npos) << report.status().message();
}

TEST(KernelBench, StoredFiguresAreThoseOfTheDeviceAndShape) {
  EXPECT_EQ(library_product(kH100, QType::kFp8, 2048, 28672, 4096).us, 337);
  EXPECT_EQ(library_product(kH100, QType::kInt8, 2048, 28672, 4096).us, 311);
  EXPECT_EQ(library_product(kH100, QType::kInt8, 64, 4096, 4096).us, 8.0);
  EXPECT_EQ(library_product(kH100, QType::kBF16, 1, 6144, 4096).us, 20.5);
  EXPECT_EQ(library_product(kH100, QType::kFp8, 2048, 28672, 4097).us, 0);
  EXPECT_EQ(library_product("AMD EPYC", QType::kFp8, 2048, 28672, 4096).us, 0);
}

TEST(KernelBench, TheTableNamesWhatIsStored) {
  KernelReport report{.model = "m", .scheme = "fp8", .kv_dtype = "bf16", .device = kH100};
  report.ceilings.rates.memory_bytes_s = 3e12;
  report.rows = {{.op = "linear o",
                  .shape = "4096x4096",
                  .rows = 64,
                  .us = 10,
                  .bytes = 17e6,
                  .flop = 2e9,
                  .share = 0.57,
                  .library_us = 8,
                  .library = "CUTLASS 4.2"}};
  const std::string table = kernel_table(report);
  for (const char* part : {"3000 GB/s", "stored, not measured now", "linear o", "57 %", "8.0 CUTLASS 4.2"})
    EXPECT_NE(table.find(part), std::string::npos) << part << " in\n" << table;
  const auto json = to_json(report);
  EXPECT_EQ(json["rows"][0]["library"], "CUTLASS 4.2");
  EXPECT_EQ(json["ceilings"]["memory_bytes_s"], 3e12);
}

}  // namespace
}  // namespace octet
