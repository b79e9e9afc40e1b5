#include "quantize/calibrate.h"

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "formats/test_util.h"
#include "model/test_util.h"
#include "quantize/calibration_text.h"
#include "quantize/quantize.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using octet::testing::TempFolder;

std::shared_ptr<Checkpoint> golden(const std::string& name) {
  auto checkpoint = Checkpoint::open("tests/golden/models/" + name);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? *checkpoint : nullptr;
}

std::unique_ptr<Ops> cpu(int n_threads = 1) {
  return std::move(make_cpu_ops({n_threads, "generic"})).value();
}

TokenSequences some_sequences(const Checkpoint& checkpoint, int32_t samples = 4, int32_t length = 32) {
  TokenSequences sequences;
  for (int32_t s = 0; s < samples; ++s) {
    auto& ids = sequences.emplace_back();
    for (int32_t i = 0; i < length; ++i)
      ids.push_back((s * 101 + i * i * 7 + 3) % checkpoint.config.vocab_size);
  }
  return sequences;
}

std::vector<float> logits(std::shared_ptr<Checkpoint> checkpoint, const std::vector<int32_t>& ids,
                          const std::string& scheme = "") {
  ModelOptions options;
  options.scheme = scheme;
  options.max_batch = 1;
  options.max_step_tokens = 32;
  options.max_context = 64;
  auto model = Model::load(std::move(checkpoint), cpu(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  return test::Feeder(**model).logits(ids, 32);
}

Result<Calibration> calibrate_golden(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                     const char* alpha, int n_threads = 1) {
  OCTET_ASSIGN_OR_RETURN(const auto schemes, quantized_schemes(checkpoint, options, true));
  CalibrationOptions how;
  OCTET_ASSIGN_OR_RETURN(how.smooth, parse_alpha(alpha));
  return calibrate(checkpoint, *cpu(n_threads), schemes, some_sequences(checkpoint), how);
}

// Layer by layer, through the observing ops, gives the very numbers of the whole model.
TEST(LayerRunner, AgreesWithTheModel) {
  for (const char* name : {"llama31", "qwen2", "qwen3", "mistral"}) {
    const auto checkpoint = golden(name);
    ASSERT_NE(checkpoint, nullptr);
    const auto sequences = some_sequences(*checkpoint, 2);
    const auto ops = cpu();
    auto runner = LayerRunner::create(*checkpoint, *ops, sequences);
    ASSERT_TRUE(runner.ok()) << runner.status().message();
    for (int32_t layer = 0; layer < checkpoint->config.n_layers; ++layer) {
      const auto inputs = (*runner)->next_layer();
      ASSERT_TRUE(inputs.ok()) << inputs.status().message();
      for (const auto& rows : inputs->inputs) EXPECT_EQ(rows.rows, 64);
      EXPECT_EQ(inputs->k_absmax.size(), static_cast<size_t>(checkpoint->config.n_kv_heads));
      for (const float v : inputs->v_absmax) EXPECT_GT(v, 0);
    }
    const auto rows = (*runner)->head_input();
    ASSERT_TRUE(rows.ok());
    const QuantArgs plain{QType::kBF16, QScale::kNone, false, true};
    const auto head = read_linear(*checkpoint, "lm_head", {plain, plain});
    ASSERT_TRUE(head.ok());
    const auto product = Trial(*ops).product(pick_rows(*rows, 32, 64, 32), {}, *head);
    ASSERT_TRUE(product.ok());
    EXPECT_EQ(*product, logits(checkpoint, sequences[1])) << name;
  }
}

// What is taken from the input is put into the weights, and the other way round for biases and norms.
TEST(Smoothing, FoldedWeightsGiveTheSameProducts) {
  const auto checkpoint = golden("qwen2");
  ASSERT_NE(checkpoint, nullptr);
  QuantizeOptions options;
  options.scheme = "int8";
  const auto calibration = calibrate_golden(*checkpoint, options, "0.5");
  ASSERT_TRUE(calibration.ok()) << calibration.status().message();
  const std::string v = "model.layers.0.self_attn.v_proj", o = "model.layers.0.self_attn.o_proj";
  const auto& modules = calibration->recipe.modules;
  const auto& divisor = modules.at(v).row_divisor;
  const auto& scale = modules.at(o).column_scale;
  const ModelConfig& config = checkpoint->config;
  ASSERT_EQ(divisor.size(), static_cast<size_t>(config.n_kv_heads * config.head_dim));
  ASSERT_EQ(scale.size(), static_cast<size_t>(config.n_heads * config.head_dim));
  const int32_t shared_by = config.n_heads / config.n_kv_heads;
  for (int32_t head = 0; head < config.n_heads; ++head) {  // o multiplies by what v was divided by
    for (int32_t d = 0; d < config.head_dim; ++d) {
      EXPECT_EQ(scale[static_cast<size_t>(head * config.head_dim + d)],
                divisor[static_cast<size_t>(head / shared_by * config.head_dim + d)]);
    }
  }
  EXPECT_TRUE(calibration->recipe.vectors.contains(v + ".bias"));
  const auto gamma = read_tensor(*checkpoint, "model.layers.0.input_layernorm.weight");
  ASSERT_TRUE(gamma.ok());
  const auto& folded = calibration->recipe.vectors.at("model.layers.0.input_layernorm.weight");
  for (size_t c = 0; c < folded.size();
       ++c) {  // the norm is stored in 16 bits, the columns take what is left
    EXPECT_EQ(folded[c], bf16_to_f32(f32_to_bf16(folded[c])));
    EXPECT_NEAR(folded[c] * modules.at(v).column_scale[c], (*gamma)[c], 1e-6 * std::fabs((*gamma)[c]));
  }
}

TEST(Smoothing, ChannelsThatAreNeverActiveStayAsTheyAre) {
  const auto s = smoothing_scale({0, 8, 2}, {1, 1, 0}, 0.5f, {});
  EXPECT_EQ(s, (std::vector<float>{1, 1, 1}));  // one active channel is its own mean
  const auto two = smoothing_scale({0, 8, 2}, {1, 1, 1}, 0.5f, {});
  EXPECT_EQ(two[0], 1);
  EXPECT_NEAR(two[1], 1.41421f, 1e-4f);
  EXPECT_NEAR(two[2], 0.70711f, 1e-4f);
}

TEST(Calibration, Int8IsCloserTo16BitsThanMinMax) {
  for (const char* name : {"llama31", "qwen2", "qwen3"}) {
    const auto checkpoint = golden(name);
    ASSERT_NE(checkpoint, nullptr);
    QuantizeOptions options;
    options.scheme = "int8";
    options.quantize_head = true;
    const auto calibration = calibrate_golden(*checkpoint, options, "search");
    ASSERT_TRUE(calibration.ok()) << calibration.status().message();
    const TempFolder folder;
    const auto report = quantize_checkpoint(*checkpoint, options, folder.path("out"), &*calibration);
    ASSERT_TRUE(report.ok()) << report.status().message();
    const auto written = Checkpoint::open(folder.path("out"));
    ASSERT_TRUE(written.ok()) << written.status().message();
    const auto ids = some_sequences(*checkpoint, 9).back();  // none of those calibrated on
    const auto vocab = static_cast<size_t>(checkpoint->config.vocab_size);
    const auto exact = logits(checkpoint, ids);
    const double smoothed = test::mean_kl(exact, logits(*written, ids), vocab);
    const double plain = test::mean_kl(exact, logits(checkpoint, ids, "int8-minmax"), vocab);
    EXPECT_LT(smoothed, 0.8 * plain) << name;
  }
}

TEST(Calibration, SameInputsGiveTheSameFiles) {
  const auto checkpoint = golden("llama31");
  ASSERT_NE(checkpoint, nullptr);
  const TempFolder folder;
  QuantizeOptions options;
  options.scheme = "int8";
  std::string files[2];
  for (const int run : {0, 1}) {
    const auto calibration = calibrate_golden(*checkpoint, options, "search", run + 1);  // threads too
    ASSERT_TRUE(calibration.ok());
    const std::string out = "out" + std::to_string(run);
    ASSERT_TRUE(quantize_checkpoint(*checkpoint, options, folder.path(out), &*calibration).ok());
    files[run] = folder.read(out + "/model.safetensors");
  }
  EXPECT_FALSE(files[0].empty());
  EXPECT_EQ(files[0], files[1]);
}

TEST(Calibration, NamesTheInputThatIsNotFinite) {
  const auto source = golden("llama31");
  ASSERT_NE(source, nullptr);
  const TempFolder folder;
  std::filesystem::copy("tests/golden/models/llama31", folder.path("broken"));
  const auto* tensor = source->find("model.layers.1.mlp.up_proj.weight");
  ASSERT_NE(tensor, nullptr);
  std::string bytes = folder.read("broken/model.safetensors");
  const auto at = bytes.find(std::string(reinterpret_cast<const char*>(tensor->data.data()), 64));
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 2, "\xc0\x7f");  // a NaN of bfloat16
  folder.write("broken/model.safetensors", bytes);
  const auto broken = Checkpoint::open(folder.path("broken"));
  ASSERT_TRUE(broken.ok()) << broken.status().message();
  QuantizeOptions options;
  options.scheme = "int8";
  const auto status = calibrate_golden(**broken, options, "search").status();
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_NE(status.message().find("model.layers.1.mlp.down_proj input"), std::string::npos)
      << status.message();
}

TEST(Calibration, AlphaIsCheckedByName) {
  EXPECT_FALSE(parse_alpha("1.5").ok());
  EXPECT_FALSE(parse_alpha("").ok());
  EXPECT_NE(parse_alpha("half").status().message().find("--alpha 'half'"), std::string::npos);
  EXPECT_EQ(parse_alpha("0.25")->alpha, 0.25f);
}

}  // namespace
}  // namespace octet
