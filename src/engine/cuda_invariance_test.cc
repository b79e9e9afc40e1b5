// The engine on a GPU that keeps batch invariance: what a request gets, to the last bit of its log
// probabilities, does not depend on company, chunks, prefix hits, preemptions or cancellations. In every
// scheme: a request alone is compared with itself among 255 others.
#include "engine/cuda_engine_test_util.h"

namespace octet {
namespace {

using test::Answer;
using test::Answers;

constexpr int32_t kRequests = 256, kVocabulary = 1000;
constexpr int64_t kTightTokens = 12'288;  // a sixth of what all need at once

// Lengths from one token to 330; every third prompt begins as the others of these do, over two pages and a
// bit. Greedy and drawn ones by turns.
std::vector<Request> mixed_requests() {
  std::vector<Request> requests(kRequests);
  for (int32_t i = 0; i < kRequests; ++i) {
    Request& request = requests[i];
    const int32_t n = 1 + (i * 61) % 330;
    for (int32_t t = 0; t < n; ++t) {
      const bool shared = i % 3 == 0 && t < 150;
      request.prompt.push_back((shared ? 7 + 31 * t : 13 * i + 17 * t + t * t) % kVocabulary);
    }
    request.sampling.max_tokens = 130 + i % 40;
    request.sampling.ignore_eos = true;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    request.sampling.top_p = i % 4 == 1 ? 0.9f : 1.0f;
    request.sampling.has_seed = true;
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.n_logprobs = 3;
  }
  return requests;
}

bool same(const OutputToken& a, const OutputToken& b) {
  const auto equal = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.token == y.token && x.logprob == y.logprob;
  };
  return a.token == b.token && a.logprob == b.logprob && std::ranges::equal(a.top, b.top, equal);
}

// Token by token to the last bit, all of them, or those that came before the request was cancelled.
void expect_same(const std::vector<Answer>& expected, const std::vector<Answer>& actual) {
  int32_t n_wrong = 0;
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto &a = expected[i].tokens, &b = actual[i].tokens;
    const bool ended = actual[i].finish == FinishReason::kCancelled;
    EXPECT_TRUE(ended ? b.size() < a.size() : b.size() == a.size())
        << "request " << i << ": " << b.size() << " tokens, " << a.size() << " expected " << actual[i].error;
    const size_t n = std::min(a.size(), b.size());
    const auto wrong = std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(n), b.begin(), same);
    if (wrong.first == a.begin() + static_cast<ptrdiff_t>(n)) continue;
    if (++n_wrong > 3) continue;
    ADD_FAILURE() << "request " << i << " differs from token " << wrong.first - a.begin()
                  << " on: " << wrong.second->token << " (" << wrong.second->logprob << "), alone "
                  << wrong.first->token << " (" << wrong.first->logprob << ")";
  }
  EXPECT_EQ(n_wrong, 0) << "requests that differ";
}

struct Case {
  const char *scheme, *kv;
};

class CudaEngineInvariance : public ::testing::TestWithParam<Case> {};

TEST_P(CudaEngineInvariance, AloneOrAmong255Others) {
  OCTET_NEED_CUDA();
  const auto [scheme, kv] = GetParam();
  const auto load = [&](int32_t max_step_tokens, int64_t kv_tokens) {
    return test::load(octet::testing::random_checkpoint(octet::testing::kSmallLlama),
                      {.scheme = scheme,
                       .kv = kv,
                       .max_batch = kRequests,
                       .max_step_tokens = max_step_tokens,
                       .kv_tokens = kv_tokens},
                      make_cuda_ops({.batch_invariant = true}));
  };
  const auto requests = mixed_requests();
  Answers together;
  {
    const auto roomy = load(2048, 0);
    ASSERT_NE(roomy, nullptr);
    together = test::run(*roomy, requests, {.prefix_cache = false});
    EXPECT_EQ(together.most_sequences, kRequests);
    EXPECT_EQ(together.metrics.preemptions, 0u);
    std::vector<Request> some;
    std::vector<Answer> among_others;
    for (int32_t i = 2; i < kRequests; i += 5) {
      some.push_back(requests[i]);
      among_others.push_back(together.of[i]);
    }
    const Answers alone = test::run(*roomy, some, {.at_once = false, .prefix_cache = false});
    EXPECT_EQ(alone.most_sequences, 1);
    expect_same(alone.of, among_others);
  }
  // Other chunks, shared pages, victims, and every fifth request gone midway.
  const auto tight = load(333, kTightTokens);
  ASSERT_NE(tight, nullptr);
  const Answers crowded = test::run(*tight, requests, {});
  EXPECT_GT(crowded.metrics.preemptions, 0u);
  EXPECT_GT(crowded.metrics.prefix_hits, 0u);
  expect_same(together.of, crowded.of);
  test::Run midway;
  for (int32_t i = 0; i < kRequests; ++i) midway.cancel_after.push_back(i % 5 == 0 ? 1 + i % 50 : -1);
  const Answers left = test::run(*tight, requests, midway);
  EXPECT_GE(left.metrics.finished_cancelled, 50u);
  expect_same(together.of, left.of);
}

INSTANTIATE_TEST_SUITE_P(Schemes, CudaEngineInvariance,
                         ::testing::Values(Case{"bf16", "auto"}, Case{"fp16", "auto"},
                                           Case{"int8-minmax", "auto"}, Case{"fp8", "auto"},
                                           Case{"llm-int8:1.5", "auto"}, Case{"fp8-static", "auto"},
                                           Case{"int8-static", "auto"}, Case{"fp8", "fp8"},
                                           Case{"int8-minmax", "int8"}, Case{"bf16", "fp8"}),
                         [](const auto& info) {
                           std::string name = std::string(info.param.scheme) + "_kv_" + info.param.kv;
                           std::ranges::replace_if(
                               name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
                               '_');
                           return name;
                         });

}  // namespace
}  // namespace octet
