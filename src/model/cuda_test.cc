// Whole models on a GPU: recorded steps against steps as they come, and the real small model against the CPU
// backend. Skipped, with the reason, where there is no GPU.
#include <fstream>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/cuda/cuda_backend.h"
#include "model/test_util.h"
#include "text/tokenizer.h"

namespace octet {
namespace {

constexpr char kConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 1000,
  "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 8,
  "num_key_value_heads": 2, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16"
})";
constexpr char kSmallModel[] = "models/smollm2-135m-instruct.gguf";

Result<std::unique_ptr<Model>> load(std::shared_ptr<Checkpoint> checkpoint, Result<std::unique_ptr<Ops>> ops,
                                    const std::string& scheme, const std::string& kv) {
  if (!ops.ok()) return ops.status();
  ModelOptions options;
  options.scheme = scheme;
  options.kv_dtype = kv;
  options.max_batch = 16;
  options.max_step_tokens = 256;
  options.max_context = 512;
  return Model::load(std::move(checkpoint), std::move(ops).value(), options);
}

std::shared_ptr<Checkpoint> random_checkpoint() {
  const auto folder = std::filesystem::temp_directory_path() / "octet_cuda_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << kConfig;
  auto checkpoint = Checkpoint::random(folder.string());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? *checkpoint : nullptr;
}

// Sequences that decode together, each next token known to the device alone until the step after it is on its
// way.
struct Decoded {
  std::vector<std::vector<int32_t>> tokens;  // by step: one a sequence
  std::vector<float> logits;                 // of the last step
};
Decoded decode_together(Model& model, const std::vector<int32_t>& lengths, int n_steps) {
  const int32_t page_size = model.cache().page_size,
                pages = (model.max_context() + page_size - 1) / page_size;
  std::vector<test::Feeder> feeders;
  ForwardBatch batch;
  for (size_t s = 0; s < lengths.size(); ++s) {
    feeders.emplace_back(model, static_cast<int32_t>(s) * pages);
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i < lengths[s]; ++i) prompt.push_back((i * 37 + static_cast<int32_t>(s) * 11) % 900);
    feeders[s].add(batch, prompt, false);
  }
  SamplingBatch sampling;
  sampling.rows.resize(lengths.size(), SamplingRow{.temperature = 0.8f, .top_p = 0.9f});
  Decoded run;
  std::vector<std::vector<SampledToken>> sampled(n_steps, std::vector<SampledToken>(lengths.size()));
  std::vector<Fence> fences;
  View logits;
  for (int step = 0; step < n_steps; ++step) {
    logits = model.forward(batch);
    for (size_t s = 0; s < lengths.size(); ++s)
      sampling.rows[s].seed = s, sampling.rows[s].n_generated = step;
    model.ops().sample(logits, sampling, sampled[step].data());
    fences.push_back(model.ops().fence());
    if (step > 0) {
      EXPECT_TRUE(model.ops().wait(fences[step - 1]).ok());
    }
    batch.clear();
    for (size_t s = 0; s < lengths.size(); ++s)
      feeders[s].add(batch, {from_row(static_cast<int32_t>(s))}, false);
  }
  run.logits = test::read_logits(model, logits);
  for (const auto& step : sampled) {
    run.tokens.emplace_back();
    for (const SampledToken& token : step) run.tokens.back().push_back(token.token);
  }
  return run;
}

TEST(CudaModel, RecordedStepsGiveTheSameBits) {
  const auto checkpoint = random_checkpoint();
  for (const char* scheme : {"bf16", "fp8", "int8-minmax"}) {
    auto eager = load(checkpoint, make_cuda_ops({.replay = false}), scheme, "auto");
    if (!eager.ok()) GTEST_SKIP() << eager.status().message();
    auto recorded = load(checkpoint, make_cuda_ops({}), scheme, "auto");
    ASSERT_TRUE(recorded.ok()) << recorded.status().message();
    const std::vector<int32_t> lengths = {3, 40, 17, 63,
                                          5};  // five: rounded up to eight; pages fill up on the way
    const Decoded expected = decode_together(**eager, lengths, 40),
                  actual = decode_together(**recorded, lengths, 40);
    EXPECT_EQ(actual.tokens, expected.tokens) << scheme;
    EXPECT_EQ(actual.logits, expected.logits) << scheme;
    for (const int32_t token : actual.tokens.back()) EXPECT_GE(token, 0);
  }
}

// How the distributions of next tokens differ from the CPU backend's, over a text.
TEST(CudaModel, SmallModelAgreesWithTheCpu) {
  if (const auto ops = make_cuda_ops({}); !ops.ok()) GTEST_SKIP() << ops.status().message();
  auto checkpoint = Checkpoint::open(kSmallModel);
  if (!checkpoint.ok()) GTEST_SKIP() << checkpoint.status().message();
  const auto tokenizer = Tokenizer::create((*checkpoint)->tokenizer);
  ASSERT_TRUE(tokenizer.ok());
  const std::string text =
      "The water cycle describes how water moves on, above and below the surface of the Earth. Heat from the "
      "Sun makes water "
      "evaporate from oceans, lakes and rivers; plants give off vapor through their leaves. High up the "
      "vapor cools and "
      "condenses into tiny drops, which make clouds. When the drops grow heavy they fall as rain, snow or "
      "hail, and run "
      "back over the land, or sink into the ground, where some of it stays for thousands of years.";
  const std::vector<int32_t> ids = (*tokenizer)->encode(text, {true, true});
  struct Case {
    const char *scheme, *kv;
    double largest_kl;
    double least_agreement;
  };
  // The same codes, multiplied in another order and with 16-bit activations between the layers instead of
  // 32-bit ones.
  for (const Case& c : {Case{"bf16", "auto", 2e-3, 0.96},
                        {"fp16", "auto", 2e-3, 0.96},
                        {"int8-minmax", "auto", 1e-2, 0.93},
                        {"fp8", "auto", 2e-2, 0.90},
                        {"fp8", "fp8", 3e-2, 0.88},
                        {"int8-minmax", "int8", 1e-2, 0.92}}) {
    auto cpu = load(*checkpoint, make_cpu_ops({}), c.scheme, c.kv);
    auto cuda = load(*checkpoint, make_cuda_ops({}), c.scheme, c.kv);
    ASSERT_TRUE(cpu.ok() && cuda.ok()) << cpu.status().message() << cuda.status().message();
    const auto vocab = static_cast<size_t>((*cpu)->config().vocab_size);
    const auto expected = test::Feeder(**cpu).logits(ids, 16), actual = test::Feeder(**cuda).logits(ids, 16);
    ASSERT_EQ(expected.size(), actual.size());
    const double kl = test::mean_kl(expected, actual, vocab);
    size_t same = 0;
    for (size_t r = 0; r < ids.size(); ++r) {
      const auto top = [&](const std::vector<float>& logits) {
        const auto row = logits.begin() + static_cast<ptrdiff_t>(r * vocab);
        return std::max_element(row, row + static_cast<ptrdiff_t>(vocab)) - row;
      };
      same += top(expected) == top(actual) ? 1 : 0;
    }
    const double agreement = static_cast<double>(same) / static_cast<double>(ids.size());
    std::printf("%-12s KV %-5s KL %.2e nats, same most likely token in %.1f %% of %zu\n", c.scheme, c.kv, kl,
                100 * agreement, ids.size());
    RecordProperty(std::string(c.scheme) + "_" + c.kv + "_kl", std::to_string(kl));
    RecordProperty(std::string(c.scheme) + "_" + c.kv + "_agreement", std::to_string(agreement));
    EXPECT_LT(kl, c.largest_kl) << c.scheme << " " << c.kv;
    EXPECT_GE(agreement, c.least_agreement) << c.scheme << " " << c.kv;
  }
}

}  // namespace
}  // namespace octet
