// Perplexity and divergence of the small golden models, against numbers computed from the logits of another
// program.
#include <filesystem>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/reference/reference_ops.h"
#include "eval/divergence.h"
#include "model/test_util.h"

namespace octet {
namespace {

constexpr const char* kFolder = "tests/golden/models/llama31";

std::unique_ptr<Model> load(const std::string& scheme, bool reference, int32_t max_batch = 4) {
  auto checkpoint = Checkpoint::open(kFolder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ModelOptions options;
  options.scheme = scheme;
  options.kv_dtype = reference ? "fp16" : "auto";
  options.max_batch = max_batch;
  options.max_step_tokens = 40;
  options.max_context = 256;
  auto ops = reference ? Result<std::unique_ptr<Ops>>(make_reference_ops()) : make_cpu_ops({2, "auto"});
  EXPECT_TRUE(ops.ok()) << ops.status().message();
  auto model = Model::load(*checkpoint, std::move(ops).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return std::move(model).value();
}

test::Golden golden() {
  auto read = test::read_golden(kFolder);
  EXPECT_TRUE(read.ok()) << read.status().message();
  return std::move(read).value();
}

std::vector<int32_t> ids_of(const test::Golden& golden) {
  return {golden.ids.begin(), golden.ids.end()};
}

// Mean negative log-likelihood of ids [first, n) by the golden logits, in doubles.
double golden_nll(const test::Golden& g, size_t first) {
  const size_t vocab = g.logits.size() / g.ids.size();
  double total = 0;
  for (size_t t = first; t < g.ids.size(); ++t) {
    const float* row = g.logits.data() + (t - 1) * vocab;
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]));
    total += std::log(sum) - row[g.ids[t]];
  }
  return total / static_cast<double>(g.ids.size() - first);
}

Journal no_journal() {
  return Journal::open("", {}).value();
}

TEST(Perplexity, IsThatOfTransformersLogits) {
  const auto g = golden();
  const auto ids = ids_of(g);
  auto model = load("f32", true);
  auto journal = no_journal();
  const auto r =
      measure_perplexity(*model, nullptr, ids, {.window = static_cast<int32_t>(ids.size())}, -1, {}, journal);
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->tokens, std::ssize(ids) - 1);
  EXPECT_NEAR(r->perplexity.value / std::exp(golden_nll(g, 1)), 1, 2e-3);
  EXPECT_NEAR(r->perplexity.value, std::exp(r->nll.value), 1e-9);
}

TEST(Perplexity, StridedWindowsSeeOnlyWhatIsInThem) {
  const auto ids = ids_of(golden());
  auto model = load("", false);
  auto journal = no_journal();
  const WindowOptions options{.window = 20, .stride = 8};
  const auto r = measure_perplexity(*model, nullptr, ids, options, -1, {}, journal);
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->tokens, std::ssize(ids) - 1);
  // The same by hand: each window as a text of its own, all of its tokens scored, the new ones kept.
  double nll = 0;
  const auto windows = cut_windows(std::ssize(ids), options);
  for (const Window& w : *windows) {
    const auto all =
        window_logprobs(*model, {{ids.begin() + w.begin, ids.begin() + w.end}, 1}, step_limits(*model));
    ASSERT_TRUE(all.ok());
    for (int64_t t = w.first_scored; t < w.end; ++t) nll -= (*all)[static_cast<size_t>(t - w.begin - 1)];
  }
  EXPECT_NEAR(r->nll.value, nll / static_cast<double>(r->tokens), 1e-9);
}

TEST(Perplexity, DoesNotDependOnTheSizeOfSteps) {
  const auto ids = ids_of(golden());
  auto small = load("int8-minmax", false, 4), large = load("int8-minmax", false, 40);
  auto journal = no_journal();
  const auto a = measure_perplexity(*small, nullptr, ids, {.window = 16}, -1, {}, journal);
  const auto b = measure_perplexity(*large, nullptr, ids, {.window = 16}, -1, {}, journal);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->nll.value, b->nll.value);
}

TEST(Perplexity, BesideABaseline) {
  const auto ids = ids_of(golden());
  auto model = load("int8-minmax", false), baseline = load("", false);
  auto journal = no_journal();
  const WindowOptions options{.window = 16};
  const auto r = measure_perplexity(*model, baseline.get(), ids, options, -1, {}, journal);
  const auto alone = measure_perplexity(*baseline, nullptr, ids, options, -1, {}, journal);
  ASSERT_TRUE(r.ok() && alone.ok());
  EXPECT_DOUBLE_EQ(r->baseline_perplexity->value, alone->perplexity.value);
  EXPECT_NEAR(r->ratio->value, r->perplexity.value / alone->perplexity.value, 1e-9);
  EXPECT_LT(r->ratio->error,
            r->perplexity.error / r->perplexity.value);  // paired: most of the noise is common
}

TEST(Divergence, FromTheGoldenModelIsThatOfTheLogits) {
  const auto g = golden();
  const auto ids = ids_of(g);
  auto model = load("int8-minmax", false), baseline = load("f32", false);
  auto journal = no_journal();
  const auto r = measure_divergence(*model, *baseline, ids, {.window = static_cast<int32_t>(ids.size())}, -1,
                                    {}, journal);
  ASSERT_TRUE(r.ok()) << r.status().message();
  // The same from whole tables of logits. The golden ones are of float32 throughout; the baseline's cache is
  // in 16 bits.
  const size_t vocab = g.logits.size() / g.ids.size();
  const size_t n = (ids.size() - 1) * vocab;  // the last row predicts no token of the text
  const auto table = [&](Model& m) {
    auto logits = test::Feeder(m).logits(ids, 29);
    logits.resize(n);
    return logits;
  };
  const auto quantized = table(*model), exact = table(*baseline);
  const std::vector<float> golden_logits(g.logits.begin(), g.logits.begin() + static_cast<ptrdiff_t>(n));
  const double expected = test::mean_kl(exact, quantized, vocab);
  EXPECT_GT(expected, 1e-5);
  EXPECT_NEAR(r->kl.value / expected, 1, 1e-3);
  EXPECT_NEAR(r->kl.value / test::mean_kl(golden_logits, quantized, vocab), 1, 0.1);
  int same = 0;
  for (size_t t = 0; t + 1 < ids.size(); ++t) {
    const float *a = exact.data() + t * vocab, *b = quantized.data() + t * vocab;
    same += std::max_element(a, a + vocab) - a == std::max_element(b, b + vocab) - b ? 1 : 0;
  }
  EXPECT_DOUBLE_EQ(r->top1.value, same / static_cast<double>(ids.size() - 1));
  EXPECT_NEAR(r->perplexity.baseline_perplexity->value / std::exp(golden_nll(g, 1)), 1, 2e-3);
  EXPECT_LE(r->kl_percentiles.front().value, r->kl_percentiles.back().value);
}

TEST(Divergence, OfAModelFromItselfIsNothing) {
  const auto ids = ids_of(golden());
  auto model = load("", false), baseline = load("", false);
  auto journal = no_journal();
  const auto r = measure_divergence(*model, *baseline, ids, {.window = 16}, -1, {}, journal);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->kl_percentiles.back().value, 0);
  EXPECT_EQ(r->top1.value, 1);
  EXPECT_EQ(r->perplexity.ratio->value, 1);
  EXPECT_EQ(r->probability_change_rms, 0);
}

TEST(Divergence, InterruptedAndContinuedIsTheSame) {
  const std::string path = testing::TempDir() + "octet_divergence.state";
  std::filesystem::remove(path);
  const auto ids = ids_of(golden());
  auto model = load("fp8", false), baseline = load("", false);
  const WindowOptions options{.window = 12};
  auto none = no_journal();
  const auto whole = measure_divergence(*model, *baseline, ids, options, -1, {}, none);
  int asked = 0;
  {
    auto journal = Journal::open(path, {{"run", 1}});
    const auto broken = measure_divergence(*model, *baseline, ids, options, -1,
                                           {"divergence", "tokens", [&] { return ++asked == 3; }}, *journal);
    ASSERT_FALSE(broken.ok());
  }
  auto journal = Journal::open(path, {{"run", 1}});
  ASSERT_EQ(journal->done().size(), 2u);
  const auto rest = measure_divergence(*model, *baseline, ids, options, -1, {}, *journal);
  ASSERT_TRUE(whole.ok() && rest.ok());
  EXPECT_EQ(whole->kl.value, rest->kl.value);
  EXPECT_EQ(whole->perplexity.nll.value, rest->perplexity.nll.value);
  journal->remove();
}

}  // namespace
}  // namespace octet
