// The sample op against the reference, and the generator against its authors' test vectors.
#include <algorithm>
#include <limits>

#include "backend/ops_test_util.h"
#include "backend/philox.h"

namespace octet {
namespace {

// The known answers that come with the authors' library, Random123.
TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

using SampleOps = OpsTest;

std::vector<SampledToken> sample(Ops& ops, int64_t vocab, const std::vector<float>& logits,
                                 const SamplingBatch& batch) {
  const auto n = static_cast<int64_t>(batch.rows.size());
  const DeviceMatrix device(ops, n, vocab, DType::kF32, logits);
  std::vector<SampledToken> out(n);
  ops.sample(device.view(), batch, out.data());
  EXPECT_TRUE(ops.synchronize().ok());
  return out;
}

OpsLimits limits_for(int32_t vocab) {
  return {.max_tokens = 64,
          .max_seqs = 64,
          .max_context = 64,
          .max_logits = 1024,
          .vocab_size = vocab,
          .max_cols = 64,
          .attention = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 16}};
}

TEST_P(SampleOps, GreedyTakesTheLowestOfEquals) {
  for (const int32_t vocab : {1, 2, 17, 1000, 4999}) {
    const auto ops = make(2, limits_for(vocab));
    for (int32_t best = 0; best < vocab; best += 1 + vocab / 9) {
      std::vector<float> logits = random_values(vocab, best + 1);
      logits[best] = 9;
      if (best + 1 < vocab) logits[vocab - 1] = 9;
      EXPECT_EQ(sample(*ops, vocab, logits, {{SamplingRow{}}, {}, {}})[0].token, best);
    }
    const std::vector<float> forbidden(vocab, -std::numeric_limits<float>::infinity());
    EXPECT_EQ(sample(*ops, vocab, forbidden, {{SamplingRow{}}, {}, {}})[0].token, 0);
  }
}

TEST_P(SampleOps, BrokenRowsGiveNoToken) {
  const auto ops = make(2, limits_for(40));
  std::vector<float> logits(80, std::numeric_limits<float>::quiet_NaN());
  std::fill(logits.begin() + 40, logits.end(), 1.0f);
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingRow row;
    row.temperature = temperature;
    row.n_logprobs = 3;
    row.bias_end = 1;
    const auto out = sample(*ops, 40, logits, {{row, row}, {}, {{0, 1e30f}}});
    EXPECT_EQ(out[0].token, -1);
    EXPECT_EQ(out[0].n_top, 0);
    EXPECT_EQ(out[1].token, 0);
  }
}

TEST_P(SampleOps, PenaltiesAndBiases) {
  const auto ops = make(2, limits_for(8));
  const std::vector<float> logits = {1, 5, -1, 4.5f, 4, 0, 0, 0};
  const auto pick = [&](SamplingRow row, std::vector<TokenPenalty> penalties, std::vector<TokenBias> biases) {
    row.penalty_end = static_cast<int32_t>(penalties.size());
    row.bias_end = static_cast<int32_t>(biases.size());
    return sample(*ops, 8, logits, {{row}, std::move(penalties), std::move(biases)})[0].token;
  };
  EXPECT_EQ(pick({}, {}, {}), 1);
  EXPECT_EQ(pick({}, {}, {{1, -std::numeric_limits<float>::infinity()}}), 3);
  EXPECT_EQ(pick({}, {}, {{2, 7}}), 2);
  EXPECT_EQ(pick({.repetition_penalty = 1.2f}, {{1, 0}}, {}), 3);  // 5 / 1.2 < 4.5
  EXPECT_EQ(pick({.repetition_penalty = 1.2f}, {{1, 0}}, {{1, 1}}),
            1);  // (5 + 1) / 1.2 = 5: bias comes first
  EXPECT_EQ(pick({.presence_penalty = 0.6f}, {{1, 3}}, {}), 3);
  EXPECT_EQ(pick({.presence_penalty = 0.6f}, {{1, 0}}, {}), 1);  // only in the prompt
  EXPECT_EQ(pick({.frequency_penalty = 0.3f}, {{1, 1}}, {}), 1);
  EXPECT_EQ(pick({.frequency_penalty = 0.3f}, {{1, 2}}, {}), 3);
}

// Tokens equal the reference's unless the draw falls where float and double disagree on the running sum: with
// weights off by 3e-7, a share of 1e-6 for each boundary between likely tokens, here below 1 in 1,000 draws.
TEST_P(SampleOps, AgreesWithTheReference) {
  const auto reference = make_reference_ops();
  for (const int32_t vocab : {50, 3000, 49152}) {
    const auto ops = make(3, limits_for(vocab));
    const int64_t n = vocab > 10000 ? 60 : 400;
    std::mt19937 generator(vocab);
    SamplingBatch batch;
    for (int64_t r = 0; r < n; ++r) {
      SamplingRow row{.temperature = r % 10 == 0 ? 0.0f : 0.3f + 0.02f * static_cast<float>(r % 60),
                      .seed = generator(),
                      .n_generated = generator() % 4000};
      if (r % 2 == 0) row.top_p = 0.5f + 0.01f * static_cast<float>(r % 50);
      if (r % 3 == 0) row.top_k = static_cast<int32_t>(1 + r * 7 % vocab);
      if (r % 5 == 0) row.min_p = 0.02f;
      if (r % 4 == 0) row.n_logprobs = static_cast<int32_t>(r % 21);
      batch.rows.push_back(row);
    }
    const std::vector<float> logits = random_values(n * vocab, vocab, 3);
    const auto actual = sample(*ops, vocab, logits, batch),
               expected = sample(*reference, vocab, logits, batch);
    int64_t different = 0;
    for (int64_t r = 0; r < n; ++r) {
      different += actual[r].token != expected[r].token;
      ASSERT_EQ(actual[r].n_top, expected[r].n_top);
      if (actual[r].token == expected[r].token) {
        EXPECT_NEAR(actual[r].logprob, expected[r].logprob, 2e-6 + 2e-7 * std::abs(expected[r].logprob));
      }
      for (int32_t i = 0; i < actual[r].n_top; ++i) {
        EXPECT_EQ(actual[r].top_tokens[i], expected[r].top_tokens[i]);
        EXPECT_NEAR(actual[r].top_logprobs[i], expected[r].top_logprobs[i],
                    2e-6 + 2e-7 * std::abs(expected[r].top_logprobs[i]));
      }
    }
    EXPECT_LE(different, 1) << "of " << n << " draws from " << vocab;
  }
}

TEST_P(SampleOps, TiesAtTheCut) {
  const auto ops = make(1, limits_for(100));
  const std::vector<float> flat(100, 1.0f);
  std::vector<int> seen(100);
  SamplingBatch top_k, top_p;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    top_k.rows.push_back({.temperature = 1, .top_k = 5, .seed = seed});
    top_p.rows.push_back({.temperature = 1, .top_p = 0.0955f, .seed = seed});
  }
  std::vector<float> logits;
  for (int r = 0; r < 500; ++r) logits.insert(logits.end(), flat.begin(), flat.end());
  for (const SampledToken& token : sample(*ops, 100, logits, top_k)) ++seen[token.token];
  EXPECT_GE(std::count_if(seen.begin(), seen.end(), [](int n) { return n > 0; }),
            90);  // what equals the k-th stays
  for (const SampledToken& token : sample(*ops, 100, logits, top_p)) EXPECT_LT(token.token, 10);
}

// Rows that leave nothing to sort by, cuts inside thousands of equals, and nuclei of most of the vocabulary.
TEST_P(SampleOps, FlatRowsAndLargeCuts) {
  const int32_t vocab = 20000;
  const auto ops = make(3, limits_for(vocab));
  const auto reference = make_reference_ops();
  std::vector<float> logits;
  SamplingBatch batch;
  for (int32_t r = 0; r < 48; ++r) {
    std::vector<float> row = random_values(vocab, 70 + r, r % 4 == 3 ? 0.01f : 1.0f);
    for (float& v : row) {
      if (r % 4 == 0) v = -1.25f;         // all equal
      if (r % 4 == 1) v = std::round(v);  // a few levels
      if (r % 4 == 2 && v < 0) v = -std::numeric_limits<float>::infinity();
    }
    logits.insert(logits.end(), row.begin(), row.end());
    SamplingRow sampling{.temperature = 0.7f, .seed = static_cast<uint64_t>(r), .n_generated = 5};
    if (r % 3 != 0) sampling.top_p = r % 2 == 0 ? 0.97f : 0.4f;
    if (r % 3 != 1) sampling.top_k = r % 5 == 0 ? 9000 : 3000 + r;
    sampling.n_logprobs = r % 8 == 0 ? 20 : -1;
    batch.rows.push_back(sampling);
  }
  const auto actual = sample(*ops, vocab, logits, batch), expected = sample(*reference, vocab, logits, batch);
  int different = 0;
  for (size_t r = 0; r < actual.size(); ++r) {
    different += actual[r].token != expected[r].token;
    ASSERT_EQ(actual[r].n_top, expected[r].n_top);
    for (int32_t i = 0; i < actual[r].n_top; ++i)
      EXPECT_EQ(actual[r].top_tokens[i], expected[r].top_tokens[i]);
  }
  // Of 10,000 tokens of like weight, a boundary lies within rounding of a draw or a cut more often than of a
  // few.
  EXPECT_LE(different, 3) << "of " << actual.size();
}

// Penalties and biases leave the logits as they were: the next call, and log probabilities, see them raw.
TEST_P(SampleOps, LogitsAreNotChanged) {
  const int32_t vocab = 3000;
  const auto ops = make(2, limits_for(vocab));
  const std::vector<float> logits = random_values(2 * vocab, 4, 2);
  const DeviceMatrix device(*ops, 2, vocab, DType::kF32, logits);
  SamplingBatch batch;
  SamplingRow row{
      .temperature = 0.9f, .repetition_penalty = 1.3f, .presence_penalty = 0.4f, .frequency_penalty = 0.1f};
  row.n_logprobs = 5;
  for (int32_t r = 0; r < 2; ++r) {
    row.penalty_begin = static_cast<int32_t>(batch.penalties.size());
    row.bias_begin = static_cast<int32_t>(batch.biases.size());
    for (int32_t i = 0; i < 700; ++i) batch.penalties.push_back({i * 4 + r, i % 3});
    for (int32_t i = 0; i < 40; ++i)
      batch.biases.push_back({i * 70, i % 2 == 0 ? 3.0f : -std::numeric_limits<float>::infinity()});
    batch.biases.push_back({70, 1.0f});  // a token may have two
    row.penalty_end = static_cast<int32_t>(batch.penalties.size());
    row.bias_end = static_cast<int32_t>(batch.biases.size());
    batch.rows.push_back(row);
  }
  std::vector<SampledToken> out(2);
  ops->sample(device.view(), batch, out.data());
  ASSERT_TRUE(ops->synchronize().ok());
  EXPECT_EQ(device.host(), logits);
  const auto reference = make_reference_ops();
  const auto expected = sample(*reference, vocab, logits, batch);
  for (int32_t r = 0; r < 2; ++r) {
    EXPECT_EQ(out[r].token, expected[r].token);
    EXPECT_NEAR(out[r].logprob, expected[r].logprob, 1e-5);
    for (int32_t i = 0; i < 5; ++i) EXPECT_EQ(out[r].top_tokens[i], expected[r].top_tokens[i]);
  }
}

// Tokens that only the device knows yet are those of the step before; results come in the order of the
// fences.
TEST_P(SampleOps, TheNextStepReadsWhatWasSampled) {
  const int32_t vocab = 500, hidden = 24;
  const auto ops = make(2, limits_for(vocab));
  if (!ops->info().runs_ahead) GTEST_SKIP() << "this backend does not run ahead of the host";
  const std::vector<float> table = stored(*ops, random_values(vocab * hidden, 8));
  const DeviceArray<float> device_table(*ops, table);
  const DeviceMatrix first(*ops, 2, vocab, DType::kF32, random_values(2 * vocab, 1)),
      second(*ops, 2, vocab, DType::kF32, random_values(2 * vocab, 2)), x(*ops, 3, hidden);
  const SamplingBatch greedy{{SamplingRow{}, SamplingRow{}}, {}, {}};
  std::vector<SampledToken> a(2), b(2);
  ops->sample(first.view(), greedy, a.data());
  const Fence fence_a = ops->fence();
  ForwardBatch batch;
  batch.token_ids = {from_row(1), 7, from_row(0)};
  ops->embed(ops->stage(batch), {device_table.data(), DType::kF32, vocab, hidden, hidden}, x.view());
  ops->sample(second.view(), greedy, b.data());
  const Fence fence_b = ops->fence();
  ASSERT_TRUE(ops->wait(fence_a).ok());
  const std::vector<int32_t> ids = {a[1].token, 7, a[0].token};
  ASSERT_TRUE(ops->wait(fence_b).ok());
  EXPECT_NE(a[0].token, b[0].token);
  const auto rows = x.host();
  for (int t = 0; t < 3; ++t) {
    EXPECT_TRUE(std::equal(&rows[t * hidden], &rows[(t + 1) * hidden], &table[ids[t] * hidden]))
        << "token " << t;
  }
}

// Frequencies of drawn tokens follow the softmax: chi-square with 9 degrees of freedom below its 99.9 %
// point.
TEST_P(SampleOps, DrawsFollowTheDistribution) {
  const int32_t vocab = 10, n = 1000;
  const auto ops = make(2, limits_for(vocab));
  const std::vector<float> row = random_values(vocab, 3);
  std::vector<float> logits;
  SamplingBatch batch;
  for (int32_t i = 0; i < n; ++i) {
    logits.insert(logits.end(), row.begin(), row.end());
    batch.rows.push_back({.temperature = 1, .seed = 42, .n_generated = static_cast<uint64_t>(i)});
  }
  std::vector<double> count(vocab);
  for (const SampledToken& token : sample(*ops, vocab, logits, batch)) ++count[token.token];
  double total = 0, chi_square = 0;
  for (const float l : row) total += std::exp(l);
  for (int32_t i = 0; i < vocab; ++i) {
    const double expected = n * std::exp(row[i]) / total;
    chi_square += (count[i] - expected) * (count[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 27.9);
}

OCTET_INSTANTIATE_OPS_TEST(SampleOps);

}  // namespace
}  // namespace octet
