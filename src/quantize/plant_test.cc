#include "quantize/plant.h"

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "formats/test_util.h"
#include "model/test_util.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

std::vector<float> logits(std::shared_ptr<Checkpoint> checkpoint, const std::string& scheme) {
  ModelOptions options;
  options.scheme = scheme;
  options.max_batch = 1;
  options.max_step_tokens = options.max_context = 32;
  auto model = Model::load(std::move(checkpoint), std::move(make_cpu_ops({1, "generic"})).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 24; ++i) ids.push_back((i * 37 + 5) % (*model)->config().vocab_size);
  return test::Feeder(**model).logits(ids, 24);
}

TEST(Plant, TheSixteenBitFunctionIsUnchangedAndInt8Suffers) {
  const auto checkpoint = Checkpoint::open("tests/golden/models/llama31");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  QuantizeOptions how;
  how.scheme = "bf16";
  Calibration planted;
  auto schemes = quantized_schemes(**checkpoint, how, false);
  auto recipe = plant_outliers(**checkpoint, {.strength = 64});
  ASSERT_TRUE(schemes.ok() && recipe.ok());
  planted.schemes = *schemes;
  planted.recipe = *recipe;
  const octet::testing::TempFolder folder;
  ASSERT_TRUE(quantize_checkpoint(**checkpoint, how, folder.path("out"), &planted).ok());
  EXPECT_FALSE(std::filesystem::exists(folder.path("out/calibration.json")));
  const auto written = Checkpoint::open(folder.path("out"));
  ASSERT_TRUE(written.ok()) << written.status().message();
  const auto exact = logits(*checkpoint, "");
  EXPECT_EQ(logits(*written, ""), exact);
  const auto vocab = static_cast<size_t>((*checkpoint)->config.vocab_size);
  EXPECT_GT(test::mean_kl(exact, logits(*written, "int8-minmax"), vocab),
            3 * test::mean_kl(exact, logits(*checkpoint, "int8-minmax"), vocab));
}

TEST(Plant, OptionsAreChecked) {
  const auto checkpoint = Checkpoint::open("tests/golden/models/llama31");
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_NE(plant_outliers(**checkpoint, {.strength = 10}).status().message().find("power of two"),
            std::string::npos);
  EXPECT_NE(plant_outliers(**checkpoint, {.channels = 1 << 20}).status().message().find("--channels"),
            std::string::npos);
}

}  // namespace
}  // namespace octet
