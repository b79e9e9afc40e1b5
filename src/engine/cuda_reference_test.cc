// The engine on a GPU, as it is served, against the CPU backend, whose activations are float32: 256 requests
// of mixed lengths at once, with prefix hits and preemptions, and a prompt of 32,768 tokens. Every answer of
// the GPU is given to the CPU as a prompt; compared are the log probabilities of its tokens.
//
// The bound. What differs are roundings. Relative to a value, a rounding costs, as a standard deviation,
//   u = 2^-8 / sqrt(3)           to bfloat16: half a unit in the last of 8 digits, at worst
//   q = 2^-4 / sqrt(3)           to e4m3, of 4 digits
//   q = 6 / 127 / sqrt(12)       to int8, a row's largest value being 6 times its standard deviation
// A layer rounds to bfloat16 about 11 times: the residual twice, its normed form twice, and the results of
// qkv, rotation, attention (probabilities too), o, gate_up, silu_mul and down. Codes of an 8-bit scheme are
// made at four places a layer, those of an 8-bit cache at two: on both sides, of values that differ a little,
// so that codes near a boundary fall to either side; were they independent, each would count twice.
// Independent errors add up as squares; attention over scores of a spread of kSharpness multiplies those of
// queries and keys by it. Logits are linear in the last hidden state, so they are wrong by that share E of
// their own spread s, as are log probabilities, whose normalizer averages over the vocabulary. Thus the root
// of the mean square is at most E s, and no value of 10^5 further off than 7 E s. A page, a position or a
// token mistaken changes the hidden state by about its own size: s, not E s.
#include <cmath>
#include <cstdio>

#include "backend/cpu/cpu_ops.h"
#include "engine/cuda_engine_test_util.h"
#include "formats/writer.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using test::Answers;

constexpr int32_t kLayers = 2, kVocabulary = 512, kLong = 32'768;
constexpr double kSharpness = 3;  // the spread of attention scores: a few keys of 32k have most of the weight

constexpr char kConfig[] = R"({
  "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "vocab_size": 512,
  "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
  "num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 33000, "rms_norm_eps": 1e-6,
  "rope_theta": 1000000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16"
})";

// Random weights, but norms of queries and keys that spread scores: with those of a random model, attention
// over many keys is their mean, next to nothing, and nobody would see a wrong one.
std::shared_ptr<Checkpoint> sharp_checkpoint() {
  const auto random = octet::testing::random_checkpoint(kConfig);
  const octet::testing::TempFolder folder;
  folder.write("config.json", kConfig);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : random->tensors) {
    const bool sharpened = name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight");
    tensors.push_back({name, DType::kBF16, tensor.shape, [&, sharpened](std::span<uint8_t> bytes) -> Status {
                         OCTET_RETURN_IF_ERROR(random->read_rows_raw(tensor, 0, tensor.rows(), bytes.data()));
                         auto* values = reinterpret_cast<uint16_t*>(bytes.data());
                         for (size_t i = 0; sharpened && i < bytes.size() / 2; ++i)
                           values[i] = f32_to_bf16(static_cast<float>(std::sqrt(kSharpness)));
                         return {};
                       }});
  }
  const Status written = write_safetensors(folder.path(), tensors, size_t{1} << 30, [](size_t) {});
  EXPECT_TRUE(written.ok()) << written.message();
  auto checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? *checkpoint : nullptr;
}

double expected_error(const std::string& scheme, const std::string& kv) {
  const double u = std::ldexp(1, -8) / std::sqrt(3), fp8 = std::ldexp(1, -4) / std::sqrt(3),
               int8 = 6.0 / 127 / std::sqrt(12);
  const double codes = scheme.starts_with("fp8") ? fp8 : scheme.find("int8") != std::string::npos ? int8 : 0;
  const double cache = kv == "fp8" ? fp8 : kv == "int8" ? int8 : 0;
  const double layer = 11 * u * u + 4 * 2 * codes * codes + 2 * 2 * cache * cache;
  const double queries_and_keys = 2 * (u * u + 2 * codes * codes + 2 * cache * cache);
  return std::sqrt(kLayers * (layer + kSharpness * kSharpness * queries_and_keys));
}

// The prompt and all that was answered, to be told apart by who computed it: the last token is only read.
Request forced(const Request& request, const test::Answer& answer) {
  Request all;
  all.prompt = request.prompt;
  for (const OutputToken& token : answer.tokens) all.prompt.push_back(token.token);
  all.sampling.max_tokens = 1;
  all.sampling.ignore_eos = true;
  all.sampling.prompt_logprobs = 1;  // the most likely one's too
  return all;
}

class Errors {
 public:
  void add(double error) {
    sum_ += error * error;
    largest_ = std::max(largest_, std::fabs(error));
    ++n_;
  }
  void expect_within(double error, double spread, const std::string& of) const {
    const double rms = std::sqrt(sum_ / static_cast<double>(n_)), bound = error * spread;
    std::printf("%-34s %6zu log probabilities, spread %.3f: wrong by %.5f, at most %.5f; bounds %.5f, %.5f\n",
                of.c_str(), n_, spread, rms, largest_, bound, 7 * bound);
    EXPECT_GT(n_, 0u);
    EXPECT_LE(rms, bound) << of;
    EXPECT_LE(largest_, 7 * bound) << of;
  }

 private:
  double sum_ = 0, largest_ = 0;
  size_t n_ = 0;
};

// Of the log probabilities that a text's tokens have: what the model makes of its last state.
double spread_of(const Answers& answers) {
  double sum = 0, squares = 0, n = 0;
  for (const auto& answer : answers.of) {
    for (const OutputToken& token : answer.prompt) {
      sum += token.logprob;
      squares += double{token.logprob} * token.logprob;
      ++n;
    }
  }
  return std::sqrt(squares / n - sum / n * sum / n);
}

struct Case {
  const char *scheme, *kv;
};
std::string name_of(const Case& c) {
  return std::string(c.scheme) + ", cache " + c.kv;
}

// What the GPU answered to greedy requests, beside what the CPU thinks of it.
void compare(const std::vector<Request>& requests, const Answers& gpu, const Answers& cpu, const Case& c,
             double spread) {
  Errors errors;
  const double error = expected_error(c.scheme, c.kv);
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& answered = gpu.of[i].tokens;
    ASSERT_EQ(static_cast<int32_t>(answered.size()), requests[i].sampling.max_tokens) << gpu.of[i].error;
    const size_t first = requests[i].prompt.size() - 1;
    ASSERT_EQ(cpu.of[i].prompt.size(), first + answered.size());
    for (size_t t = 0; t < answered.size(); ++t) {
      const OutputToken& same = cpu.of[i].prompt[first + t];
      ASSERT_EQ(same.token, answered[t].token);
      errors.add(answered[t].logprob - same.logprob);
      // It was the most likely one here, so there it is as good as.
      ASSERT_FALSE(same.top.empty());
      EXPECT_LE(same.top[0].logprob - same.logprob, 14 * error * spread)
          << "request " << i << ", token " << t;
    }
  }
  errors.expect_within(error, spread, name_of(c) + ", answers");
}

class CudaEngineReference : public ::testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<Model> load(bool gpu, const test::TestModel& sizes) {
    test::TestModel test = sizes;
    test.scheme = GetParam().scheme;
    test.kv = GetParam().kv;
    return test::load(checkpoint_, test, gpu ? make_cuda_ops({}) : make_cpu_ops({}));
  }
  const std::shared_ptr<Checkpoint> checkpoint_ = sharp_checkpoint();
};

TEST_P(CudaEngineReference, MixedRequests) {
  OCTET_NEED_CUDA();
  std::vector<Request> requests(256);
  for (int32_t i = 0; i < 256; ++i) {
    const int32_t n = 1 + (i * 61) % 330;
    for (int32_t t = 0; t < n; ++t)
      requests[i].prompt.push_back((i % 3 == 0 && t < 150 ? 7 + 31 * t : 13 * i + 17 * t + t * t) %
                                   kVocabulary);
    requests[i].sampling.max_tokens = 130 + i % 40;
    requests[i].sampling.ignore_eos = true;
    requests[i].sampling.temperature = 0;
    requests[i].sampling.n_logprobs = 0;
  }
  const auto roomy = load(true, {}), tight = load(true, {.max_step_tokens = 333, .kv_tokens = 12'288});
  const auto host = load(false, {.max_batch = 32});
  ASSERT_TRUE(roomy != nullptr && tight != nullptr && host != nullptr);
  for (Model* gpu : {roomy.get(), tight.get()}) {
    const Answers answers = test::run(*gpu, requests, {});
    EXPECT_GT(answers.metrics.prefix_hits, 0u);
    EXPECT_EQ(answers.metrics.preemptions > 0, gpu == tight.get());
    EXPECT_TRUE(gpu == tight.get() || answers.most_sequences == 256) << answers.most_sequences;
    std::vector<Request> texts;
    for (size_t i = 0; i < requests.size(); ++i) texts.push_back(forced(requests[i], answers.of[i]));
    const Answers judged = test::run(*host, texts, {});
    compare(requests, answers, judged, GetParam(), spread_of(judged));
  }
}

TEST_P(CudaEngineReference, PromptOf32k) {
  OCTET_NEED_CUDA();
  const test::TestModel sizes{.max_batch = 4, .max_step_tokens = 8192, .max_context = kLong + 64};
  const auto gpu = load(true, sizes), host = load(false, sizes);
  ASSERT_TRUE(gpu != nullptr && host != nullptr);
  Request request;
  uint32_t random = 1;
  for (int32_t i = 0; i < kLong; ++i) {
    random = random * 1664525 + 1013904223;
    request.prompt.push_back(static_cast<int32_t>((random >> 8) % kVocabulary));
  }
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = 24;
  request.sampling.n_logprobs = 0;
  const Answers answers = test::run(*gpu, {request}, {});
  EXPECT_EQ(answers.most_tokens, 8192);
  // The whole text on both: on the GPU in chunks of 32, as many as there are rows for log probabilities.
  const std::vector<Request> text = {forced(request, answers.of[0])};
  const Answers again = test::run(*gpu, text, {}), judged = test::run(*host, text, {});
  const double spread = spread_of(judged);
  compare({request}, answers, judged, GetParam(), spread);
  Errors errors;
  ASSERT_EQ(again.of[0].prompt.size(), judged.of[0].prompt.size());
  for (size_t i = 0; i < judged.of[0].prompt.size(); ++i)
    errors.add(again.of[0].prompt[i].logprob - judged.of[0].prompt[i].logprob);
  errors.expect_within(expected_error(GetParam().scheme, GetParam().kv), spread,
                       name_of(GetParam()) + ", 32k");
}

INSTANTIATE_TEST_SUITE_P(Schemes, CudaEngineReference,
                         ::testing::Values(Case{"bf16", "auto"}, Case{"int8-minmax", "int8"},
                                           Case{"fp8", "fp8"}),
                         [](const auto& info) {
                           std::string name = std::string(info.param.scheme) + "_kv_" + info.param.kv;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace octet
