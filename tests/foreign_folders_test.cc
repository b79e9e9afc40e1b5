// Whole folders in the layouts of other quantizers (AutoFP8, fbgemm, ModelOpt), made from ones that octet or
// compressed-tensors wrote: the same codes and scales under other names, types and shapes. They have to give
// the same logits, bit by bit.
#include <fstream>
#include <functional>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "formats/row_codec.h"
#include "formats/test_util.h"
#include "formats/writer.h"
#include "model/test_util.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

using nlohmann::json;
using octet::testing::TempFolder;

constexpr char kStatic[] =
    "tests/golden/models/llama31-fp8-static-kv8";  // one scale a tensor, of inputs and cache too

struct Tensor {
  std::string name;
  DType type = DType::kBF16;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

bool is_scale(const Tensor& tensor) {
  return tensor.name.ends_with("_scale");
}

// Scales are float32 there: a scalar where there is one a tensor, a column where there is one a channel.
void widen_scale(Tensor* tensor) {
  if (!is_scale(*tensor)) return;
  const auto n = static_cast<int64_t>(tensor->bytes.size() / 2);
  std::vector<float> values(static_cast<size_t>(n));
  values_to_f32(DType::kBF16, tensor->bytes.data(), n, values.data());
  tensor->type = DType::kF32;
  if (n == 1) tensor->shape.clear();
  tensor->bytes.resize(values.size() * sizeof(float));
  std::memcpy(tensor->bytes.data(), values.data(), tensor->bytes.size());
}

void rename_ending(Tensor* tensor, const std::string& from, const std::string& to) {
  if (tensor->name.ends_with(from)) tensor->name.replace(tensor->name.size() - from.size(), from.size(), to);
}

class ForeignFolder {
 public:
  // `source` with its tensors changed (one without a name is left out); the configuration follows.
  ForeignFolder(const std::string& source, const std::function<void(Tensor*)>& change) {
    config_ = json::parse(std::ifstream(source + "/config.json"));
    config_.erase("quantization_config");
    config_.erase("octet_quantization");
    auto files = open_safetensors_folder(source);
    EXPECT_TRUE(files.ok()) << files.status().message();
    if (!files.ok()) return;
    std::vector<TensorToWrite> list;
    for (const auto& file : *files) {
      for (const auto& entry : file.entries) {
        if (entry.name == "ids" || entry.name == "logits" || entry.name == "greedy") continue;
        const auto bytes = file.file->bytes().subspan(entry.begin, entry.end - entry.begin);
        Tensor tensor{entry.name, entry.type, entry.shape, {bytes.begin(), bytes.end()}};
        widen_scale(&tensor);
        change(&tensor);
        if (tensor.name.empty()) continue;
        list.push_back(
            {tensor.name, tensor.type, tensor.shape, [bytes = tensor.bytes](std::span<uint8_t> out) {
               std::memcpy(out.data(), bytes.data(), bytes.size());
               return Status();
             }});
      }
    }
    const Status written = write_safetensors(folder_.path(), list, size_t{1} << 30, [](size_t) {});
    EXPECT_TRUE(written.ok()) << written.message();
  }

  void write_config(const json& quantization) {
    config_["quantization_config"] = quantization;
    folder_.write("config.json", config_.dump());
  }
  // As ModelOpt's exporter does: in a file of its own.
  void write_config_beside(const json& quantization) {
    folder_.write("config.json", config_.dump());
    folder_.write("hf_quant_config.json",
                  json{{"producer", {{"name", "modelopt"}}}, {"quantization", quantization}}.dump());
  }
  std::string path() const { return folder_.path(); }

 private:
  TempFolder folder_;
  json config_;
};

struct Outcome {
  std::string scheme, kv;
  std::vector<float> logits;
  size_t vocab = 1;
};

Outcome run(const std::string& folder) {
  ModelOptions options;
  options.max_batch = 1;
  options.max_step_tokens = options.max_context = 64;
  auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  if (!checkpoint.ok()) return {};
  auto model =
      Model::load(std::move(checkpoint).value(), std::move(make_cpu_ops({1, "auto"})).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 48; ++i) ids.push_back((i * 37 + 5) % (*model)->config().vocab_size);
  return {(*model)->scheme_name(), (*model)->kv_name(), test::Feeder(**model).logits(ids, 32),
          static_cast<size_t>((*model)->config().vocab_size)};
}

void expect_same(const Outcome& foreign, const Outcome& own) {
  EXPECT_EQ(foreign.scheme, own.scheme);
  EXPECT_EQ(foreign.kv, own.kv);
  ASSERT_FALSE(own.logits.empty());
  EXPECT_EQ(foreign.logits, own.logits);
}

TEST(ForeignFolders, ModelOptInAFileOfItsOwnWithScalesOfTheCache) {
  ForeignFolder folder(kStatic, [](Tensor* tensor) {
    rename_ending(tensor, "self_attn.k_scale", "self_attn.k_proj.k_scale");
    rename_ending(tensor, "self_attn.v_scale", "self_attn.v_proj.v_scale");
  });
  folder.write_config_beside({{"quant_algo", "FP8"},
                              {"kv_cache_quant_algo", "FP8"},
                              {"group_size", nullptr},
                              {"exclude_modules", {"lm_head"}}});
  const Outcome own = run(kStatic);
  EXPECT_EQ(own.scheme, "fp8-static");
  EXPECT_EQ(own.kv, "fp8/tensor/static");
  expect_same(run(folder.path()), own);
}

TEST(ForeignFolders, AutoFp8WithOutputScalesOfTheCache) {
  for (const char* input : {".input_scale", ".act_scale"}) {
    ForeignFolder folder(kStatic, [&](Tensor* tensor) {
      rename_ending(tensor, ".input_scale", input);
      rename_ending(tensor, "self_attn.k_scale", "self_attn.k_proj.output_scale");
      rename_ending(tensor, "self_attn.v_scale", "self_attn.v_proj.output_scale");
    });
    folder.write_config({{"quant_method", "fp8"},
                         {"activation_scheme", "static"},
                         {"ignored_layers", {"lm_head"}},
                         {"kv_cache_scheme", "static"}});
    expect_same(run(folder.path()), run(kStatic));
  }
}

TEST(ForeignFolders, AutoFp8WithoutScalesOfInputsOrCache) {
  ForeignFolder folder(kStatic, [](Tensor* tensor) {
    if (tensor->name.ends_with(".input_scale") ||
        tensor->name.find("self_attn.k_scale") != std::string::npos ||
        tensor->name.find("self_attn.v_scale") != std::string::npos)
      tensor->name.clear();
  });
  folder.write_config(
      {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}, {"ignored_layers", {"lm_head"}}});
  const Outcome found = run(folder.path()), fixed = run(kStatic);
  EXPECT_EQ(found.kv, "bf16");
  const double apart = test::mean_kl(fixed.logits, found.logits, found.vocab);
  EXPECT_GT(apart, 0);  // inputs have scales of their own now
  EXPECT_LT(apart, 0.1);
}

class Fbgemm : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto source = Checkpoint::open("tests/golden/models/llama31");
    ASSERT_TRUE(source.ok()) << source.status().message();
    QuantizeOptions options;
    options.scheme = "fp8";
    own_ = folder_.path("fp8");
    const auto report = quantize_checkpoint(**source, options, own_);
    ASSERT_TRUE(report.ok()) << report.status().message();
  }

  Outcome with_bound(float bound) const {
    ForeignFolder folder(own_, [](Tensor*) {});
    folder.write_config({{"quant_method", "fbgemm_fp8"},
                         {"activation_scale_ub", bound},
                         {"modules_to_not_convert", {"lm_head"}}});
    return run(folder.path());
  }

  TempFolder folder_;
  std::string own_;
};

TEST_F(Fbgemm, ABoundBeyondAllInputsChangesNothing) {
  Outcome bounded = with_bound(1200);
  EXPECT_NE(bounded.scheme.find("up to 1200"), std::string::npos) << bounded.scheme;
  const Outcome own = run(own_);
  bounded.scheme = own.scheme;
  expect_same(bounded, own);
}

TEST_F(Fbgemm, ATightBoundClips) {
  const Outcome own = run(own_), loose = with_bound(1200), tight = with_bound(0.25f);
  EXPECT_GT(test::mean_kl(own.logits, tight.logits, own.vocab),
            10 * test::mean_kl(own.logits, loose.logits, own.vocab));
  EXPECT_GT(test::mean_kl(own.logits, tight.logits, own.vocab), 1e-3);
}

}  // namespace
}  // namespace octet
