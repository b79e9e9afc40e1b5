#include "bench/sweep.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(Sweep, ReadsWorkloads) {
  EXPECT_EQ(*parse_workload("2048/128"), (Workload{2048, 128}));
  EXPECT_EQ(*parse_workload("128/2048x3"), (Workload{128, 2048, 3}));
  EXPECT_NE((SweepCell{{128, 2048, 3}, 4}).key(), (SweepCell{{128, 2048, 2}, 4}).key());
  for (const char* text :
       {"", "5", "5/", "/5", "0/5", "5/0", "-1/5", "5/5/5", "5/5x", "5/5x0", "5/5x2x", "99999999999/1"}) {
    const auto workload = parse_workload(text);
    ASSERT_FALSE(workload.ok()) << text;
    EXPECT_NE(workload.status().message().find("2048/128"), std::string::npos);
  }
}

TEST(Sweep, EveryRepeatHasEveryCellInAnOrderOfItsOwn) {
  SweepOptions options;
  options.workloads = {{8, 4}, {4, 8}};
  options.max_batches = {1, 2, 4};
  options.rates = {0, 2.5};
  std::set<std::string> keys;
  std::vector<std::string> orders;
  for (int32_t repeat = 0; repeat < 3; ++repeat) {
    std::string order;
    for (const SweepCell& cell : sweep_cells(options, repeat)) {
      keys.insert(cell.key());
      order += std::to_string(cell.workload.input_len) + "," + std::to_string(cell.max_batch) + ";";
    }
    orders.push_back(order);
  }
  EXPECT_EQ(keys.size(), 36u);
  EXPECT_TRUE(keys.contains("8/4 batch 2 rate 2.5 repeat 1"));
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_EQ(longest_context(options), 12);
}

TEST(Sweep, TheTableHasMediansAndSpreads) {
  const auto row = [](double speed) {
    return nlohmann::ordered_json{
        {"input_len", 8},        {"output_len", 4},           {"max_batch", 2},
        {"rate", 0.0},           {"scheme", "fp8"},           {"kv_dtype", "bf16"},
        {"output_tok_s", speed}, {"ttft_ms", {{"p50", 1.0}}}, {"tpot_ms", {{"p50", 2.0}}}};
  };
  const std::string table = sweep_table({row(100), row(300), row(200)});
  EXPECT_NE(table.find(" 200.0"), std::string::npos) << table;
  EXPECT_NE(table.find("3.00x"), std::string::npos) << table;
  EXPECT_EQ(std::ranges::count(table, '\n'), 1);
}

}  // namespace
}  // namespace octet
