// Batch invariance: the logits of a prompt are bit-equal alone, beside others, in chunks or whole.
#include <random>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/cuda/cuda_backend.h"
#include "formats/test_util.h"
#include "model/test_util.h"

namespace octet {
namespace {

using test::Feeder;

constexpr char kConfig[] = R"({
  "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "vocab_size": 311,
  "hidden_size": 192, "intermediate_size": 328, "num_hidden_layers": 3, "num_attention_heads": 6,
  "num_key_value_heads": 2, "head_dim": 40, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
  "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16"
})";

struct Case {
  const char *isa, *scheme, *kv;  // isa: of the CPU, or "cuda"
};

Result<std::unique_ptr<Ops>> make_ops(const Case& c) {
  if (std::string(c.isa) == "cuda") return make_cuda_ops({.batch_invariant = true});
  return make_cpu_ops({2, c.isa});
}

std::unique_ptr<Model> load(const Case& c) {
  const auto checkpoint = octet::testing::random_checkpoint(kConfig);
  auto ops = make_ops(c);
  if (checkpoint == nullptr || !ops.ok()) return nullptr;
  ModelOptions options;
  options.scheme = c.scheme;
  options.kv_dtype = c.kv;
  options.quantize_head = std::string(c.scheme) == "int8-minmax";
  options.max_batch = 16;
  options.max_step_tokens = 512;
  options.max_context = 128;
  auto model = Model::load(checkpoint, std::move(ops).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? std::move(model).value() : nullptr;
}

std::vector<int32_t> prompt(uint32_t seed, size_t n) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(n);
  for (auto& id : ids) id = static_cast<int32_t>(random() % 311);
  return ids;
}

class BatchInvariance : public ::testing::TestWithParam<Case> {};

TEST_P(BatchInvariance, AloneBesideOthersChunkedOrWhole) {
  if (const auto ops = make_ops(GetParam()); !ops.ok()) GTEST_SKIP() << ops.status().message();
  auto model = load(GetParam());
  ASSERT_NE(model, nullptr);
  const auto ids = prompt(1, 30);
  const std::vector<float> whole = Feeder(*model).logits(ids, 30);
  for (const float v : whole) ASSERT_TRUE(std::isfinite(v));
  for (const int32_t chunk : {1, 3, 7, 16, 29}) {
    EXPECT_EQ(Feeder(*model).logits(ids, chunk), whole) << "in chunks of " << chunk;
  }

  // Beside 15 others of other lengths, some of them decoding; ours is in the middle of the batch.
  const int32_t pages = (model->max_context() + model->cache().page_size - 1) / model->cache().page_size;
  std::vector<Feeder> feeders;
  for (int32_t s = 0; s < 16; ++s) feeders.emplace_back(*model, s * pages);
  ForwardBatch warm_up;
  for (uint32_t s = 0; s < 16; s += 3) {
    if (s != 9) feeders[s].add(warm_up, prompt(100 + s, 5 + s), false);
  }
  model->forward(warm_up);
  ForwardBatch batch;
  int64_t our_row = 0;
  for (uint32_t s = 0; s < 16; ++s) {
    if (s == 9) {
      our_row = batch.n_logits();
      feeders[s].add(batch, ids, true);
    } else {
      feeders[s].add(batch, s % 3 == 0 ? prompt(s, 1) : prompt(s, 3 + 2 * s), false);
    }
  }
  // 30 rows of ours and 15 of the others are more than the model promises room for: only the last 16 of ours
  // count.
  batch.logit_rows.erase(batch.logit_rows.begin() + our_row, batch.logit_rows.begin() + our_row + 14);
  const std::vector<float> logits = test::read_logits(*model, model->forward(batch));
  const auto vocab = static_cast<size_t>(model->config().vocab_size);
  for (size_t i = 14; i < 30; ++i) {
    const float* row = logits.data() + (static_cast<size_t>(our_row) + i - 14) * vocab;
    EXPECT_EQ(std::memcmp(row, whole.data() + i * vocab, vocab * sizeof(float)), 0) << "position " << i;
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* isa : {"generic", "avx2", "avx512", "cuda"}) {
    for (const char* scheme : {"int8-minmax", "fp8", "bf16", "fp16"}) all.push_back({isa, scheme, "auto"});
    for (const char* kv : {"int8", "fp8"}) all.push_back({isa, "int8-minmax", kv});
  }
  // The op suite holds every scheme's linear layers to this on every instruction set.
  for (const char* isa : {"avx2", "cuda"}) {
    for (const char* scheme : {"llm-int8:1.5", "w8a16", "w8a16-fp8", "w4a16:64"})
      all.push_back({isa, scheme, "auto"});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, BatchInvariance, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = std::string(info.param.isa) + "_" + info.param.scheme + "_kv_" + info.param.kv;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace octet
