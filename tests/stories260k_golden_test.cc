// stories260K, a trained Llama of 260 thousand parameters, against an independent computation in double
// precision: token ids, greedy continuations, the likelihood of a text, and logits. Its weights come as plain
// floats with neighbouring dimensions rotated, its vocabulary as SentencePiece pieces with scores: written as
// a GGUF file here, both are what that format means by "llama".
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "backend/reference/reference_ops.h"
#include "base/mapped_file.h"
#include "formats/test_util.h"
#include "model/test_util.h"
#include "text/tokenizer.h"

namespace octet {
namespace {

using testing::GgufBytes;
using testing::TempFolder;

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;  // token types of GGUF

struct Header {
  int32_t dim, hidden, layers, heads, kv_heads, vocab, context;
};

void add_vocabulary(GgufBytes& gguf, const std::string& path, int32_t vocab) {
  std::ifstream file(path, std::ios::binary);
  file.ignore(sizeof(int32_t));  // length of the longest piece
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (int32_t id = 0; id < vocab; ++id) {
    float score = 0;
    int32_t length = 0;
    file.read(reinterpret_cast<char*>(&score), sizeof(score));
    file.read(reinterpret_cast<char*>(&length), sizeof(length));
    std::string bytes(static_cast<size_t>(length), '\0'), piece;
    file.read(bytes.data(), length);
    for (const char c : bytes) piece += c == ' ' ? std::string("\u2581") : std::string(1, c);
    if (id == 1) piece = "<s>";
    if (id == 2) piece = "</s>";
    pieces.push_back(piece);
    scores.push_back(score);
    types.push_back(id == 0 ? kUnknown : id < 3 ? kControl : id < 259 ? kByte : kNormal);
  }
  ASSERT_TRUE(file.good()) << path;
  gguf.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", pieces);
  gguf.numbers("tokenizer.ggml.scores", GgufType::kF32, scores);
  gguf.numbers("tokenizer.ggml.token_type", GgufType::kI32, types);
  gguf.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
}

void add_tensors(GgufBytes& gguf, std::ifstream& file, const Header& h) {
  using Shape = std::vector<uint64_t>;
  const auto read = [&](const std::string& name, const Shape& shape) {
    size_t n = 1;
    for (const uint64_t d : shape) n *= d;
    std::vector<float> values(n);
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(n * sizeof(float)));
    gguf.floats(name, shape, values);
  };
  const auto each_layer = [&](const std::string& name, const Shape& shape) {
    for (int32_t i = 0; i < h.layers; ++i) read("blk." + std::to_string(i) + "." + name + ".weight", shape);
  };
  const auto dim = static_cast<uint64_t>(h.dim), hidden = static_cast<uint64_t>(h.hidden);
  const uint64_t kv = dim / static_cast<uint64_t>(h.heads) * static_cast<uint64_t>(h.kv_heads);
  read("token_embd.weight", {static_cast<uint64_t>(h.vocab), dim});
  each_layer("attn_norm", {dim});
  each_layer("attn_q", {dim, dim});
  each_layer("attn_k", {kv, dim});
  each_layer("attn_v", {kv, dim});
  each_layer("attn_output", {dim, dim});
  each_layer("ffn_norm", {dim});
  each_layer("ffn_gate", {hidden, dim});
  each_layer("ffn_down", {dim, hidden});
  each_layer("ffn_up", {hidden, dim});
  read("output_norm.weight", {dim});
  ASSERT_TRUE(file.good());
}

class Stories260K : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::shared_data() + "/models/stories260K";
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "the shared data (stories260K) is not there";
    const auto text = read_text_file(folder_ + "/golden.json");
    ASSERT_TRUE(text.ok()) << text.status().message();
    golden_ = nlohmann::json::parse(*text);
    std::ifstream file(folder_ + "/stories260K.bin", std::ios::binary);
    Header h{};
    file.read(reinterpret_cast<char*>(&h), sizeof(h));
    const auto u = [](int32_t v) { return static_cast<uint32_t>(v); };
    GgufBytes gguf;
    gguf.string("general.architecture", "llama")
        .u32("llama.context_length", u(h.context))
        .u32("llama.embedding_length", u(h.dim))
        .u32("llama.block_count", u(h.layers))
        .u32("llama.feed_forward_length", u(h.hidden))
        .u32("llama.attention.head_count", u(h.heads))
        .u32("llama.attention.head_count_kv", u(h.kv_heads))
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
        .f32("llama.rope.freq_base", 10000.0f);
    add_vocabulary(gguf, folder_ + "/tok512.bin", h.vocab);
    add_tensors(gguf, file, h);
    written_.write("stories.gguf", gguf.build());
    auto opened = Checkpoint::open(written_.path("stories.gguf"));
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    checkpoint_ = *opened;
  }

  std::unique_ptr<Model> load(std::unique_ptr<Ops> ops, const std::string& scheme, const std::string& kv) {
    ModelOptions options;
    options.scheme = scheme;
    options.kv_dtype = kv;
    options.max_batch = 1;
    options.max_step_tokens = 64;
    auto model = Model::load(checkpoint_, std::move(ops), options);
    EXPECT_TRUE(model.ok()) << model.status().message();
    return model.ok() ? std::move(model).value() : nullptr;
  }

  // Mean negative log-likelihood of the golden's text.
  double mean_nll(Model& model) {
    const std::vector<int32_t> ids = golden_["nll"][0]["ids"];
    const auto logits = test::Feeder(model).logits(ids, 17);
    const auto vocab = static_cast<size_t>(model.config().vocab_size);
    double total = 0;
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      const float* row = logits.data() + t * vocab;
      double sum = 0;
      for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]));
      total += std::log(sum) - row[ids[t + 1]];
    }
    return total / static_cast<double>(ids.size() - 1);
  }

  std::string folder_;
  nlohmann::json golden_;
  TempFolder written_;
  std::shared_ptr<Checkpoint> checkpoint_;
};

TEST_F(Stories260K, TokenIds) {
  const auto tokenizer = Tokenizer::create(checkpoint_->tokenizer);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  for (const auto& story : golden_["greedy"]) {
    const std::vector<int32_t> ids = story["prompt_ids"];
    const std::string prompt = story["prompt"];
    EXPECT_EQ((*tokenizer)->encode(prompt), ids) << prompt;
  }
  EXPECT_EQ((*tokenizer)->encode(golden_["nll"][0]["text"].get<std::string>()),
            golden_["nll"][0]["ids"].get<std::vector<int32_t>>());
}

TEST_F(Stories260K, ReferenceInFloat32) {
  const auto model = load(make_reference_ops(), "f32", "f32");
  ASSERT_NE(model, nullptr);
  for (const auto& story : golden_["greedy"]) {
    const std::vector<int32_t> expected = story["greedy_ids"];  // the prompt first
    const size_t n_prompt = story["prompt_ids"].size();
    // All at once: where each token is the most likely one after those before it, greedy decoding writes it.
    const auto logits = test::Feeder(*model).logits(expected, 32);
    const auto vocab = static_cast<size_t>(model->config().vocab_size);
    for (size_t t = n_prompt; t < expected.size(); ++t) {
      const float* row = logits.data() + (t - 1) * vocab;
      ASSERT_EQ(std::max_element(row, row + vocab) - row, expected[t]) << "token " << t;
    }
  }
  const std::vector<int32_t> ids = golden_["logits"]["ids"];
  const std::vector<double> expected = golden_["logits"]["last_position_logits"];
  const auto logits = test::Feeder(*model).logits(ids, 32);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(logits[logits.size() - expected.size() + i], expected[i], 1e-4) << i;
  }
  EXPECT_NEAR(mean_nll(*model), golden_["nll"][0]["mean_nll"].get<double>(), 1e-4);
}

// Sizes of 64 and 172 are no whole tiles of any kernel. What differs is rounding to 16 or 8 bits, of a model
// of rank 64: a few thousandths of a nat, a few hundredths in 8 bits.
TEST_F(Stories260K, CpuInEveryScheme) {
  for (const char* isa : {"generic", "avx2", "avx512"}) {
    for (const auto& [scheme, bound] :
         {std::pair{"bf16", 0.01}, {"fp16", 0.01}, {"int8-minmax", 0.03}, {"fp8", 0.06}}) {
      auto ops = make_cpu_ops({2, isa});
      if (!ops.ok()) continue;  // not on this processor
      const auto model = load(std::move(ops).value(), scheme, "auto");
      ASSERT_NE(model, nullptr);
      EXPECT_NEAR(mean_nll(*model), golden_["nll"][0]["mean_nll"].get<double>(), bound)
          << isa << " " << scheme;
    }
  }
}

}  // namespace
}  // namespace octet
