#include "backend/cuda/kernels/gemm_plan.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "backend/cuda/kernels/gemm_tuning.h"

namespace octet::cuda {
namespace {

constexpr QType kTypes[] = {QType::kFp8, QType::kInt8, QType::kBF16, QType::kF16};

TEST(GemmPlan, CandidatesFitTheMachineAndCanBeWrittenDown) {
  for (const QType type : kTypes) {
    for (const int64_t m : {1, 8, 9, 64, 65, 128, 200, 256, 257, 2048, 8192}) {
      for (const auto& [n, k] : {std::pair{6144, 4096}, {4096, 14336}, {192, 576}, {1, 16}, {128256, 4096}}) {
        for (const bool promote : {false, true}) {
          const auto plans = gemm_candidates({type, m, n, k, false, promote});
          ASSERT_FALSE(plans.empty());
          for (const GemmPlan& plan : plans) {
            EXPECT_LE(gemm_shared_bytes(plan), 231424) << to_string(plan);
            EXPECT_GE(plan.stages, 2);
            EXPECT_EQ(plan.promote, promote && type == QType::kFp8) << to_string(plan);
            const auto back = parse_gemm_plan(to_string(plan));
            ASSERT_TRUE(back.ok()) << back.status().message();
            EXPECT_EQ(back.value(), plan);
          }
        }
      }
    }
  }
}

TEST(GemmPlan, FewTilesOfFewTokensSplitK) {
  bool split = false;
  for (const GemmPlan& plan : gemm_candidates({QType::kFp8, 1, 4096, 14336})) split |= plan.split_k > 1;
  EXPECT_TRUE(split);
}

TEST(GemmPlan, BatchInvarianceFixesTheOrderOfFloatSumsOnly) {
  for (const int64_t m : {1, 64, 256, 4096}) {
    for (const GemmPlan& plan : gemm_candidates({QType::kFp8, m, 4096, 4096, true}))
      EXPECT_EQ(plan.split_k, 1);
  }
  bool split = false;
  for (const GemmPlan& plan : gemm_candidates({QType::kInt8, 1, 4096, 4096, true})) split |= plan.split_k > 1;
  EXPECT_TRUE(split);
}

TEST(GemmPlan, BucketsArePowersOfTwoFromEight) {
  EXPECT_EQ(gemm_bucket(1), 8);
  EXPECT_EQ(gemm_bucket(8), 8);
  EXPECT_EQ(gemm_bucket(129), 256);
  EXPECT_EQ(gemm_buckets(20), (std::vector<int64_t>{8, 16, 32}));
}

TEST(GemmPlan, TextThatIsNoPlanIsRefused) {
  for (const char* text : {"", "stream 64x9 stages 4 split 1", "stream 64x8 stages 1 split 1",
                           "stream 64x8 stages 4 split 3", "stream 64x8 stages 4 split 1 later",
                           "stream 256x128 stages 4 split 1", "tile 256x128 stages 5 split 1",
                           "tile 256x128 stages 4 split 2", "tile 256x128 stages 4 split 1 promote",
                           "tile 64x128 stages 4 split 1", "tile 256x128 stages 4 split 1 square",
                           "stream 64x64 stages 4 split 1 square", "tile 160x128 stages 4 split 1",
                           "stream 64x256 stages 2 split 1 promote", "stream 64x8 stages 4 split 1 "}) {
    EXPECT_FALSE(parse_gemm_plan(text).ok()) << text;
  }
}

TEST(GemmPlan, TheLastTokensOfTilesAreFlatWhereOneCtaWouldHaveNone) {
  const GemmPlan plan{256, 128, 4, 1, false, GemmKernel::kTile};
  const auto grid = [&](int64_t m, int64_t n) {
    const TileGrid g = gemm_tile_grid(plan, m, n);
    return std::array{g.pairs, g.columns, g.flats};
  };
  EXPECT_EQ(grid(2048, 4096), (std::array{8, 16, 0}));
  EXPECT_EQ(grid(2049, 4096), (std::array{8, 16, 8}));
  EXPECT_EQ(grid(2176, 4097), (std::array{8, 17, 9}));
  EXPECT_EQ(grid(2177, 4096), (std::array{9, 16, 0}));
  EXPECT_EQ(grid(65, 512), (std::array{0, 2, 1}));
  const GemmPlan square{128, 128, 6, 1, false, GemmKernel::kTile, true};
  EXPECT_EQ(gemm_tile_grid(square, 2049, 4096).tiles(), 9 * 16);
}

TEST(GemmPlan, ManyTokensTakeTheTilesThatFillWholeWaves) {
  EXPECT_EQ(to_string(plan_gemm({QType::kFp8, 2048, 28672, 4096})), "tile 256x128 stages 4 split 1");
  EXPECT_EQ(to_string(plan_gemm({QType::kFp8, 512, 28672, 4096})), "tile 224x128 stages 4 split 1");
}

class GemmPlansFile : public testing::Test {
 protected:
  std::string path_ = std::filesystem::temp_directory_path() / ("octet_plans_" + std::to_string(getpid()));
  ~GemmPlansFile() override { std::filesystem::remove(path_); }
  void write(const std::string& text) { std::ofstream(path_) << text; }
};

TEST_F(GemmPlansFile, ComesBackAsWritten) {
  GemmPlans plans;
  const GemmPlan plan{64, 16, 6, 4, false};
  plans.set({QType::kInt8, 4096, 14336}, 16, plan, 21.5f);
  ASSERT_TRUE(plans.save(path_, "some GPU").ok());
  GemmPlans read;
  ASSERT_TRUE(read.load(path_, "some GPU").ok());
  EXPECT_EQ(read.find(QType::kInt8, 13, 4096, 14336).plan, plan);
  EXPECT_TRUE(read.has({QType::kInt8, 4096, 14336}, 16));
  EXPECT_FALSE(read.has({QType::kFp8, 4096, 14336}, 16));
  EXPECT_EQ(read.describe({QType::kInt8, 4096, 14336}),
            "int8 4096x14336: m<=16 stream 64x16 stages 6 split 4 21.5 us;");
}

TEST_F(GemmPlansFile, WhatDoesNotFitIsRefusedWithItsLine) {
  GemmPlans plans;
  EXPECT_EQ(plans.load(path_, "some GPU").code(), StatusCode::kNotFound);
  const std::string head = "octet gemm plans 5\nsome GPU\nfastest\n";
  for (const auto& [text, line] : {std::pair<std::string, std::string>{"", ":1:"},
                                   {"octet gemm plans 5\nother GPU\n", ":2:"},
                                   {"octet gemm plans 5\nsome GPU\nbatch invariant\n", ":3:"},
                                   {head + "int8 64 64 8 1.0 stream 64x8 stages 4 split 1\nint8 64", ":5:"},
                                   {head + "int3 64 64 8 1.0 stream 64x8 stages 4 split 1\n", ":4:"},
                                   {head + "int8 64 64 9 1.0 stream 64x8 stages 4 split 1\n", ":4:"},
                                   {head + "int8 64 64 8 1.0 stream 64x8 stages 99 split 1\n", ":4:"}}) {
    write(text);
    const Status status = plans.load(path_, "some GPU");
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_NE(status.message().find(path_ + line), std::string::npos) << status.message();
    EXPECT_FALSE(plans.has({QType::kInt8, 64, 64}, 8));
  }
}

TEST_F(GemmPlansFile, AFolderThatIsNotThereIsAnError) {
  EXPECT_FALSE(GemmPlans().save(path_ + "/no/plans", "some GPU").ok());
}

}  // namespace
}  // namespace octet::cuda
