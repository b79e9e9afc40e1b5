#include "formats/random_weights.h"

#include <cmath>

#include <gtest/gtest.h>

#include "formats/random_row_impl.h"
#include "formats/test_util.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

TEST(RandomWeights, EveryKnownModelIsValid) {
  const auto names = Checkpoint::random_names();
  EXPECT_GE(names.size(), 10u);
  for (const auto& name : names) {
    const auto checkpoint = Checkpoint::random(name);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ((*checkpoint)->format, "random");
    EXPECT_TRUE((*checkpoint)->tokenizer.empty());
  }
  EXPECT_EQ((*Checkpoint::random("llama-3.1-8b"))->config.n_parameters(), 8030261248);
  EXPECT_EQ((*Checkpoint::random("llama-3.2-1b"))->config.n_parameters(), 1235814400);
  EXPECT_EQ((*Checkpoint::random("llama-3.2-3b"))->config.n_parameters(), 3212749824);
  EXPECT_EQ((*Checkpoint::random("qwen2.5-7b"))->config.n_parameters(), 7615616512);
  EXPECT_EQ((*Checkpoint::random("qwen3-8b"))->config.n_parameters(), 8190735360);
  EXPECT_EQ((*Checkpoint::random("mistral-7b"))->config.n_parameters(), 7248023552);
  EXPECT_EQ((*Checkpoint::random("smollm2-135m"))->config.n_parameters(), 134515008);
  const auto unknown = Checkpoint::random("nonsense");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("one of llama-2-7b, "), std::string::npos);
}

TEST(RandomWeights, AFolderWithAConfigGivesItsShape) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder, testing::tiny_config("qwen3"));
  const auto checkpoint = Checkpoint::random(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->config.architecture, "qwen3");
  EXPECT_NE((*checkpoint)->find("model.layers.1.self_attn.q_norm.weight"), nullptr);
}

TEST(RandomWeights, EveryInstructionSetGivesTheSameBits) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) GTEST_SKIP() << "no AVX2 here";
  for (const int64_t cols : {1, 255, 256, 1000, 4096}) {
    std::vector<uint16_t> plain(cols), avx2(cols);
    fill_row(0x9e3779b9u, 0.02f, cols, plain.data());
    kFillRandomRowAvx2(0x9e3779b9u, 0.02f, cols, avx2.data());
    EXPECT_EQ(plain, avx2) << cols;
  }
}

TEST(RandomWeights, TheSpreadIsThatOfTrainedWeights) {
  const auto checkpoint = *Checkpoint::random("smollm2-135m");
  const auto* weight = checkpoint->find("model.layers.3.mlp.up_proj.weight");
  std::vector<float> values(static_cast<size_t>(weight->rows() * weight->cols()));
  ASSERT_TRUE(checkpoint->read_rows_f32(*weight, 0, weight->rows(), values.data()).ok());
  double sum = 0, squares = 0;
  for (const float v : values) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0.0, 1e-4);
  EXPECT_NEAR(std::sqrt(squares / n), 0.02 * 1.07,
              0.001);  // rows are scaled by 0.7 to 1.4: 1.07 in quadratic mean
  // Neighbours in rows and columns have nothing to do with each other.
  double along = 0, across = 0;
  const auto cols = static_cast<size_t>(weight->cols());
  for (size_t i = 0; i + cols < values.size(); ++i) {
    along += static_cast<double>(values[i]) * values[i + 1];
    across += static_cast<double>(values[i]) * values[i + cols];
  }
  EXPECT_NEAR(along / squares, 0.0, 0.01);
  EXPECT_NEAR(across / squares, 0.0, 0.01);

  const auto* norm = checkpoint->find("model.norm.weight");
  std::vector<float> gains(static_cast<size_t>(norm->rows()));
  ASSERT_TRUE(checkpoint->read_rows_f32(*norm, 0, norm->rows(), gains.data()).ok());
  double mean = 0;
  for (const float g : gains) {
    EXPECT_GT(g, 0.5f);
    mean += g;
  }
  EXPECT_NEAR(mean / static_cast<double>(gains.size()), 1.0, 0.1);
}

TEST(RandomWeights, ARowIsTheSameHoweverItIsRead) {
  const auto one = *Checkpoint::random("smollm2-135m", 5), two = *Checkpoint::random("smollm2-135m", 6);
  const auto* weight = one->find("model.layers.0.self_attn.q_proj.weight");
  const auto cols = static_cast<size_t>(weight->cols());
  std::vector<float> all(4 * cols), part(2 * cols), other(cols), other_tensor(cols);
  std::vector<uint16_t> raw(cols);
  ASSERT_TRUE(one->read_rows_f32(*weight, 8, 12, all.data()).ok());
  ASSERT_TRUE(one->read_rows_f32(*weight, 10, 12, part.data()).ok());
  ASSERT_TRUE(one->read_rows_raw(*weight, 10, 11, raw.data()).ok());
  ASSERT_TRUE(two->read_rows_f32(*weight, 8, 9, other.data()).ok());
  const auto* o_proj = one->find("model.layers.0.self_attn.o_proj.weight");
  ASSERT_TRUE(one->read_rows_f32(*o_proj, 8, 9, other_tensor.data()).ok());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + static_cast<int64_t>(2 * cols)));
  for (size_t i = 0; i < cols; ++i) ASSERT_EQ(bf16_to_f32(raw[i]), part[i]);
  EXPECT_FALSE(std::equal(other.begin(), other.end(), all.begin()));
  EXPECT_FALSE(std::equal(other_tensor.begin(), other_tensor.end(), all.begin()));
}

}  // namespace
}  // namespace octet
