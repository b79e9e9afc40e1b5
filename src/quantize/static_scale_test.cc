#include "quantize/static_scale.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "formats/test_util.h"
#include "model/model.h"
#include "quantize/calibration_report.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

using octet::testing::TempFolder;

const QuantArgs kSymmetric{QType::kInt8, QScale::kTensor, false, true};
const QuantArgs kAsymmetric{QType::kInt8, QScale::kTensor, false, false};
const QuantArgs kFp8{QType::kFp8, QScale::kTensor, false, true};

// Values from -1 to 2, and one of 100.
TrialRows rows_with_an_outlier() {
  TrialRows rows{10, 100, {}};
  for (int i = 0; i < 1000; ++i)
    rows.values.push_back(-1.0f + 3.0f * static_cast<float>(i * 37 % 1000) / 999.0f);
  rows.values[123] = 100;
  return rows;
}

ValueRange range_of(const TrialRows& rows) {
  return {*std::min_element(rows.values.begin(), rows.values.end()),
          *std::max_element(rows.values.begin(), rows.values.end())};
}

TEST(StaticScale, ObserversSeeDifferentRanges) {
  const TrialRows rows = rows_with_an_outlier();
  const float all = choose_static_scale(rows, range_of(rows), kSymmetric, {Observer::kAbsmax}).scale;
  EXPECT_GE(all * 127, 100);
  EXPECT_LE(all * 127, 101);
  const float most =
      choose_static_scale(rows, range_of(rows), kSymmetric, {Observer::kPercentile, 99.8}).scale;
  EXPECT_NEAR(most * 127, 2, 0.05);
  const float least_error = choose_static_scale(rows, range_of(rows), kSymmetric, {Observer::kMse}).scale;
  EXPECT_LT(least_error, all);
  EXPECT_GE(choose_static_scale(rows, range_of(rows), kFp8, {Observer::kAbsmax}).scale * 448, 100);
}

TEST(StaticScale, ZeroPointsPutZeroOnACode) {
  TrialRows rows = rows_with_an_outlier();
  rows.values[123] = 2;
  const StaticScale s = choose_static_scale(rows, range_of(rows), kAsymmetric, {Observer::kAbsmax});
  EXPECT_NEAR(s.scale * 255, 3, 0.05);
  EXPECT_NEAR(s.zero_point, -128 + 85, 1);
}

TEST(StaticScale, BoundsSayWhatIsWrong) {
  EXPECT_EQ(why_unsafe({0.0001, 0.001, 0.0005, 0.01}), "");
  EXPECT_NE(why_unsafe({0.01, 0, 0, 0}).find("clip"), std::string::npos);
  EXPECT_NE(why_unsafe({0, 0.002, 0.0002, 0.02}).find("10 times"), std::string::npos);
  EXPECT_NE(why_unsafe({0, 0.01, 0.008, 0.02}).find("the output is off by 10 %"), std::string::npos);
  EXPECT_NE(why_unsafe({0, 0.001, 0.001, 0.9}).find("a token"), std::string::npos);
  EXPECT_FALSE(parse_observer("percentile:40").ok());
  EXPECT_FALSE(parse_observer("minmax").ok());
  EXPECT_EQ(parse_observer("percentile:99.5")->percent, 99.5);
}

class StaticCheckpoint : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Checkpoint::open("tests/golden/models/llama31");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    checkpoint_ = *opened;
  }

  Result<Calibration> calibrate_with(const std::string& scheme, const Observer& observer, bool strict,
                                     const KvQuant& kv = {}) {
    options_.scheme = scheme;
    OCTET_ASSIGN_OR_RETURN(const auto schemes, quantized_schemes(*checkpoint_, options_, true));
    CalibrationOptions how = how_;
    how.smooth.mode = scheme == "fp8-static" ? SmoothOptions::kNone : SmoothOptions::kSearch;
    how.observer = observer;
    how.strict_static = strict;
    how.kv = kv;
    std::vector<std::vector<int32_t>> sequences(8);
    for (int32_t s = 0; s < 8; ++s) {
      for (int32_t i = 0; i < 32; ++i)
        sequences[s].push_back((s * 101 + i * i * 7 + 3) % checkpoint_->config.vocab_size);
    }
    return calibrate(*checkpoint_, *std::move(make_cpu_ops({1, "generic"})).value(), schemes, sequences, how);
  }
  // Written, and read back by what serves it.
  std::shared_ptr<Checkpoint> write(const Calibration& calibration) {
    const auto report = quantize_checkpoint(*checkpoint_, options_, folder_.path("out"), &calibration);
    EXPECT_TRUE(report.ok()) << report.status().message();
    auto written = Checkpoint::open(folder_.path("out"));
    EXPECT_TRUE(written.ok()) << written.status().message();
    if (!written.ok()) return nullptr;
    ModelOptions options;
    options.max_batch = 1;
    options.max_step_tokens = options.max_context = 32;
    const auto model = Model::load(*written, std::move(make_cpu_ops({1, "generic"})).value(), options);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return *written;
  }

  std::shared_ptr<Checkpoint> checkpoint_;
  QuantizeOptions options_;
  CalibrationOptions how_;
  TempFolder folder_;
};

TEST_F(StaticCheckpoint, EveryStaticSchemeIsWrittenAndRead) {
  for (const char* scheme : {"int8-static", "int8-static-asym", "fp8-static"}) {
    const auto calibration = calibrate_with(scheme, {Observer::kAbsmax}, false);
    ASSERT_TRUE(calibration.ok()) << calibration.status().message();
    for (const auto& input : calibration->inputs)
      EXPECT_TRUE(input.check.has_value()) << scheme << " " << input.name;
    const auto written = write(*calibration);
    ASSERT_NE(written, nullptr);
    int64_t fixed = 0;
    for (const auto& [module, args] : calibration->schemes) {
      EXPECT_EQ(written->scheme_of(module).input, args.input) << scheme << " " << module;
      fixed += args.static_input() ? 1 : 0;
    }
    EXPECT_GT(fixed, 0) << scheme;
    std::filesystem::remove_all(folder_.path("out"));
  }
}

TEST_F(StaticCheckpoint, AnUnsafeScaleFallsBackAndIsSaid) {
  const auto calibration = calibrate_with("int8-static", {Observer::kPercentile, 60}, false);
  ASSERT_TRUE(calibration.ok()) << calibration.status().message();
  for (const auto& input : calibration->inputs) EXPECT_NE(input.fallback.find("clip"), std::string::npos);
  const auto written = write(*calibration);
  ASSERT_NE(written, nullptr);
  EXPECT_TRUE(written->scheme_of("model.layers.0.mlp.down_proj").input.dynamic);
  const auto report = nlohmann::json::parse(folder_.read("out/calibration.json"));
  EXPECT_EQ(report["inputs"].size(), calibration->inputs.size());
  EXPECT_EQ(report["inputs"][0]["static"]["kept"], false);
  EXPECT_NE(report["summary"].get<std::string>().find("became dynamic"), std::string::npos);
  const std::string page = render_html(calibration_page(*calibration, "m", "int8-static", "octet quantize"));
  EXPECT_NE(page.find("heatmap"), std::string::npos);
  EXPECT_NE(page.find("dynamic: "), std::string::npos);
}

TEST_F(StaticCheckpoint, TheCheckpointSaysHowItWasMade) {
  const auto calibration = calibrate_with("int8-static", {Observer::kPercentile, 60}, false);
  ASSERT_TRUE(calibration.ok()) << calibration.status().message();
  const auto written = write(*calibration);
  ASSERT_NE(written, nullptr);
  ASSERT_TRUE(written->record.has_value());
  EXPECT_EQ(written->record->scheme, "int8-static");
  EXPECT_EQ(written->record->weights, "absmax");
  EXPECT_GT(written->record->dynamic_instead, 0);
  EXPECT_TRUE(written->smoothed());
  // Those that became dynamic are int8, not int8-minmax: they are smoothed.
  EXPECT_EQ(scheme_name(written->scheme_of("model.layers.0.mlp.down_proj"), written->smoothed()), "int8");
}

TEST_F(StaticCheckpoint, UnsafeScalesAreKeptOnRequest) {
  how_.keep_static = true;
  const auto calibration = calibrate_with("int8-static", {Observer::kPercentile, 60}, false);
  ASSERT_TRUE(calibration.ok()) << calibration.status().message();
  for (const auto& [module, scheme] : calibration->schemes)
    EXPECT_EQ(scheme.static_input(), module != "lm_head") << module;
}

TEST_F(StaticCheckpoint, StrictMakesItAnError) {
  const auto status = calibrate_with("int8-static", {Observer::kPercentile, 60}, true).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("input cannot be static"), std::string::npos) << status.message();
}

TEST_F(StaticCheckpoint, ScalesOfTheCacheComeWithIt) {
  for (const bool per_head : {false, true}) {
    const KvQuant kv{QType::kFp8, false, per_head};
    const auto calibration = calibrate_with("int8", {Observer::kAbsmax}, false, kv);
    ASSERT_TRUE(calibration.ok()) << calibration.status().message();
    const auto written = write(*calibration);
    ASSERT_NE(written, nullptr);
    EXPECT_EQ(written->kv_quant, kv);
    const auto scales = read_kv_scales(*written, 1);
    ASSERT_TRUE(scales.ok()) << scales.status().message();
    EXPECT_EQ(scales->k[0], calibration->kv_scales[1].k[0]);
    EXPECT_EQ(scales->v.back(), calibration->kv_scales[1].v.back());
    std::filesystem::remove_all(folder_.path("out"));
  }
}

}  // namespace
}  // namespace octet
