#include "quantize/quantize.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "backend/cpu/cpu_ops.h"
#include "model/model.h"
#include "model/test_util.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr char kConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 300,
  "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 2, "num_attention_heads": 6,
  "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "tie_word_embeddings": %s, "attention_bias": true, "torch_dtype": "%s"
})";

struct Folder {
  explicit Folder(const std::string& name)
      : path((fs::temp_directory_path() / ("octet_quantize_" + name)).string()) {
    fs::remove_all(path);
    fs::remove_all(path + ".partial");
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

std::shared_ptr<Checkpoint> source(const Folder& folder, bool tied, const char* dtype) {
  fs::create_directories(folder.path);
  char text[1024];
  std::snprintf(text, sizeof(text), kConfig, tied ? "true" : "false", dtype);
  std::ofstream(folder.path + "/config.json") << text;
  auto checkpoint = Checkpoint::random(folder.path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? *checkpoint : nullptr;
}

std::vector<float> logits(std::shared_ptr<Checkpoint> checkpoint, const std::string& scheme,
                          const std::string& exclude, bool quantize_head) {
  ModelOptions options;
  options.scheme = scheme;
  options.exclude = exclude;
  options.quantize_head = quantize_head;
  options.max_batch = 1;
  options.max_step_tokens = 32;
  options.max_context = 64;
  auto model = Model::load(std::move(checkpoint), std::move(make_cpu_ops({1, "generic"})).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 24; ++i) ids.push_back((i * 37 + 5) % 300);
  return test::Feeder(**model).logits(ids, 24);
}

struct Case {
  const char *scheme, *exclude, *dtype;
  bool tied, quantize_head;
};

class QuantizeRoundTrip : public testing::TestWithParam<Case> {};

// What `quantize` writes and the server reads back gives the very logits of quantizing while loading.
TEST_P(QuantizeRoundTrip, LogitsAreIdentical) {
  const Case& c = GetParam();
  const Folder from("source"), to("result");
  const auto checkpoint = source(from, c.tied, c.dtype);
  ASSERT_NE(checkpoint, nullptr);
  QuantizeOptions options;
  options.scheme = c.scheme;
  options.exclude = c.exclude;
  options.quantize_head = c.quantize_head;
  options.shard_bytes = 100'000;  // several shards
  const auto report = quantize_checkpoint(*checkpoint, options, to.path);
  ASSERT_TRUE(report.ok()) << report.status().message();
  const auto written = Checkpoint::open(to.path);
  ASSERT_TRUE(written.ok()) << written.status().message();
  const auto direct = logits(checkpoint, c.scheme, c.exclude, c.quantize_head);
  EXPECT_EQ(logits(*written, "", "", false), direct);
  EXPECT_FALSE(fs::exists(to.path + ".partial"));
  const bool plain = std::string(c.scheme) == "bf16" || std::string(c.scheme) == "fp16";
  EXPECT_EQ(report->quantized_modules,
            plain ? 0 : 14 - (*c.exclude != 0 ? 2 : 0) + (c.quantize_head ? 1 : 0));
}

INSTANTIATE_TEST_SUITE_P(All, QuantizeRoundTrip,
                         testing::Values(Case{"int8-minmax", "", "bfloat16", true, false},
                                         Case{"int8-minmax", "", "bfloat16", true, true},
                                         Case{"int8-minmax", "down_proj", "bfloat16", false, true},
                                         Case{"fp8", "[0]\\.self_attn\\.[qo]_proj", "bfloat16", false, false},
                                         Case{"fp8", "", "float16", true, true},
                                         Case{"bf16", "", "bfloat16", true, false},
                                         Case{"fp16", "", "float16", false, false},
                                         Case{"fp16", "", "bfloat16", true, false}));

TEST(Quantize, RefusesWhatMakesNoSense) {
  const Folder from("source"), to("result");
  const auto checkpoint = source(from, true, "bfloat16");
  ASSERT_NE(checkpoint, nullptr);
  const auto message = [&](const std::string& scheme, const std::string& exclude) {
    QuantizeOptions options;
    options.scheme = scheme;
    options.exclude = exclude;
    return quantize_checkpoint(*checkpoint, options, to.path).status().message();
  };
  EXPECT_NE(message("int8-static", "").find("calibration"), std::string::npos);
  EXPECT_NE(message("int3", "").find("unknown scheme"), std::string::npos);
  EXPECT_NE(message("fp8", "(").find("expected a regular expression"), std::string::npos);
  EXPECT_NE(message("fp8", "nothing_like_it").find("matches no linear layer"), std::string::npos);
  fs::create_directories(to.path);
  std::ofstream(to.path + "/precious") << "x";
  EXPECT_NE(message("fp8", "").find("not empty"), std::string::npos);
  EXPECT_TRUE(fs::exists(to.path + "/precious"));
}

// Files that may not grow stand for a full disk.
TEST(Quantize, AFullDiskLeavesNothingBehind) {
  const Folder from("source"), to("result");
  const auto checkpoint = source(from, true, "bfloat16");
  ASSERT_NE(checkpoint, nullptr);
  QuantizeOptions options;
  options.scheme = "fp8";
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{20'000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto status = quantize_checkpoint(*checkpoint, options, to.path).status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("octet_quantize_result"), std::string::npos) << status.message();
  EXPECT_FALSE(fs::exists(to.path));
  EXPECT_FALSE(fs::exists(to.path + ".partial"));
}

TEST(Quantize, AQuantizedCheckpointIsNotQuantizedAgain) {
  const Folder from("source"), to("result"), again("again");
  const auto checkpoint = source(from, true, "bfloat16");
  ASSERT_NE(checkpoint, nullptr);
  QuantizeOptions options;
  options.scheme = "fp8";
  ASSERT_TRUE(quantize_checkpoint(*checkpoint, options, to.path).ok());
  const auto written = Checkpoint::open(to.path);
  ASSERT_TRUE(written.ok());
  const auto status = quantize_checkpoint(**written, options, again.path).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("quantized already"), std::string::npos);
}

}  // namespace
}  // namespace octet
