#include "bench/startup.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/test_util.h"

namespace octet {
namespace {

Startup run(double scale) {
  return {{{"process", 1 * scale}, {"open", 2 * scale}}, 3 * scale, 5 * scale, 1 * scale};
}

TEST(Startup, MediansAreTakenPhaseByPhase) {
  const Startup middle = median_startup({run(10), run(1), run(2)});
  ASSERT_EQ(middle.phases.size(), 2u);
  EXPECT_EQ(middle.phases[1].name, "open");
  EXPECT_EQ(middle.phases[1].ms, 4);
  EXPECT_EQ(middle.ready_ms, 6);
  EXPECT_EQ(middle.first_token_ms, 10);
}

TEST(Startup, JsonGoesThereAndBack) {
  const auto back = startup_from_json(to_json(run(2)));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(to_json(*back), to_json(run(2)));
  EXPECT_FALSE(startup_from_json({{"phases_ms", 3}}).ok());
  EXPECT_FALSE(startup_from_json(nlohmann::ordered_json::array()).ok());
}

TEST(Startup, WithoutColdStartsTheTableSaysWhy) {
  StartupReport report{.model = "m", .scheme = "fp8", .kv_dtype = "bf16", .device = "d"};
  report.warm = {run(1)};
  report.no_cold = "random weights have no files";
  const std::string table = startup_table(report);
  EXPECT_NE(table.find("no cold starts: random weights"), std::string::npos) << table;
  EXPECT_FALSE(to_json(report).contains("cold"));
  report.no_cold.clear();
  report.cold = {run(7)};
  EXPECT_NE(startup_table(report).find("21.0"), std::string::npos);
  EXPECT_EQ(to_json(report)["cold"]["ready_ms"], 21);
}

TEST(Startup, FilesOfACheckpoint) {
  testing::TempFolder folder;
  folder.write("config.json", "{}");
  folder.write("a.safetensors", "x");
  EXPECT_EQ(checkpoint_files(folder.path()).size(), 2u);
  EXPECT_EQ(checkpoint_files(folder.path() + "/config.json").size(), 1u);
  EXPECT_TRUE(checkpoint_files("/no/such").empty());
}

}  // namespace
}  // namespace octet
