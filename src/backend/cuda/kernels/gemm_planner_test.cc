#include "backend/cuda/kernels/gemm_planner.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <unistd.h>

namespace octet::cuda {
namespace {

const GemmPlan kTimed{64, 16, 6, 4};
const GemmShape kShape{QType::kInt8, 4096, 14336};

class GemmPlannerTest : public testing::Test {
 protected:
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("octet_planner_" + std::to_string(getpid()));
  std::string file_ = folder_ / "new" / "plans.txt";
  std::vector<std::string> infos_, warnings_;
  int tuned_ = 0;

  ~GemmPlannerTest() override { std::filesystem::remove_all(folder_); }

  GemmPlannerOptions options(bool timed) {
    GemmPlannerOptions o;
    o.timed = timed;
    o.file = file_;
    o.device = "some GPU";
    o.info = [this](const std::string& line) { infos_.push_back(line); };
    o.warning = [this](const std::string& line) { warnings_.push_back(line); };
    return o;
  }
  GemmPlanner::Tune tune() {
    return [this](GemmPlans& plans, const GemmShape& shape) {
      ++tuned_;
      for (const int64_t m : gemm_buckets(kMostTimedTokens)) plans.set(shape, m, kTimed, 1);
      return Status();
    };
  }
  std::string text() const {
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(GemmPlannerTest, WhatIsNotTimedGetsTheBestGuess) {
  GemmPlanner planner(options(false), tune());
  const auto plans = planner.plans(kShape);
  for (const int64_t m : {1, 8, 9, 256, 512, 768, 2048})
    EXPECT_EQ(plans->at(m), plan_gemm({QType::kInt8, m > 512 ? m : gemm_bucket(m), 4096, 14336})) << m;
  EXPECT_EQ(plans->at(1 << 20), plan_gemm({QType::kInt8, kMostPlannedTokens, 4096, 14336}));
  EXPECT_EQ(tuned_, 0);
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(GemmPlannerTest, AFewTokensBeyondWholeRoundsOfTilesAreAProductOfTheirOwn) {
  GemmPlanner planner(options(false), tune());
  const auto down = planner.plans({QType::kBF16, 4096, 14336});
  for (const int64_t m : {1, 64, 512, 1024, 2048, 4096, 8192}) EXPECT_EQ(down->first_part(m), m);
  for (const int64_t m : {2049, 2052, 2112}) EXPECT_EQ(down->first_part(m), 2048) << m;
  EXPECT_EQ(down->first_part(1 << 20), 1 << 20);
  // Its tiles fill no whole rounds anyway: the weight is not read again for a few tokens.
  const auto gate_up = planner.plans({QType::kBF16, 28672, 4096});
  EXPECT_EQ(gate_up->first_part(2052), 2052);
}

TEST_F(GemmPlannerTest, WhatWasTimedDecidesAboutTwoProducts) {
  const auto timed = [](double us) {
    return [us](GemmPlans& plans, const GemmShape& shape) {
      for (const int64_t m : gemm_buckets(kMostTimedTokens))
        plans.set(shape, m, kTimed, static_cast<float>(us));
      return Status();
    };
  };
  GemmPlannerOptions in_memory = options(true);
  in_memory.file.clear();
  EXPECT_EQ(GemmPlanner(in_memory, timed(1)).plans(kShape)->first_part(2052), 2048);
  EXPECT_EQ(GemmPlanner(in_memory, timed(1e6)).plans(kShape)->first_part(2052), 2052);
}

TEST_F(GemmPlannerTest, AShapeIsTimedOnceAndKept) {
  {
    GemmPlanner planner(options(true), tune());
    EXPECT_EQ(planner.plans(kShape)->at(300), kTimed);
    EXPECT_EQ(planner.plans(kShape).get(), planner.plans(kShape).get());
  }
  EXPECT_EQ(tuned_, 1);
  GemmPlanner planner(options(true), tune());
  EXPECT_EQ(planner.plans(kShape)->at(300), kTimed);
  EXPECT_EQ(planner.plans(kShape)->at(513).kernel, GemmKernel::kTile);  // not timed
  EXPECT_EQ(tuned_, 1);
  ASSERT_EQ(infos_.size(), 2u);
  EXPECT_TRUE(infos_[0].starts_with("cuda: timed plans of int8 4096x14336: m<=8 stream")) << infos_[0];
  EXPECT_TRUE(infos_[1].starts_with("cuda: kept plans of int8")) << infos_[1];
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(GemmPlannerTest, PlansOfAnotherProcessStay) {
  GemmPlanner first(options(true), tune()), second(options(true), tune());
  first.plans(kShape);
  second.plans({QType::kFp8, 64, 64});
  GemmPlanner third(options(true), tune());
  third.plans(kShape);
  third.plans({QType::kFp8, 64, 64});
  EXPECT_EQ(tuned_, 2);
}

TEST_F(GemmPlannerTest, AFileThatCannotBeReadIsAWarningAndStaysAsItIs) {
  std::filesystem::create_directories(folder_ / "new");
  std::ofstream(file_) << "a letter\n";
  GemmPlanner planner(options(true), tune());
  EXPECT_EQ(planner.plans(kShape)->at(8), kTimed);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find(file_ + ":1:"), std::string::npos) << warnings_[0];
  EXPECT_EQ(text(), "a letter\n");
}

TEST_F(GemmPlannerTest, AFolderThatCannotBeMadeIsOneWarning) {
  std::ofstream(folder_) << "in the way";
  GemmPlanner planner(options(true), tune());
  EXPECT_EQ(planner.plans(kShape)->at(8), kTimed);
  planner.plans({QType::kFp8, 64, 64});
  EXPECT_EQ(warnings_.size(), 1u);
}

TEST_F(GemmPlannerTest, ADeviceThatCannotTimeIsAWarning) {
  GemmPlanner planner(options(true), [](GemmPlans&, const GemmShape&) { return resource_exhausted("full"); });
  EXPECT_EQ(planner.plans(kShape)->at(8), plan_gemm({QType::kInt8, 8, 4096, 14336}));
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_EQ(warnings_[0], "full; products run by the built-in plans");
}

TEST(GemmPlanFile, LiesInTheUsersCacheUnderTheDevicesName) {
  const std::string file = default_gemm_plan_file("NVIDIA H100 80GB HBM3", true);
  if (file.empty()) GTEST_SKIP() << "there is no home";
  EXPECT_TRUE(file.ends_with("/octet/gemm-plans-5-NVIDIA-H100-80GB-HBM3-batch-invariant.txt")) << file;
  EXPECT_NE(file, default_gemm_plan_file("NVIDIA H100 80GB HBM3", false));
}

}  // namespace
}  // namespace octet::cuda
