// Scoring and answering with a small golden model, against a computation one text at a time.
#include "eval/choices.h"

#include <cmath>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "eval/word_problems.h"
#include "model/test_util.h"

namespace octet {
namespace {

struct Loaded {
  std::shared_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
};

Loaded load(int32_t max_batch, int32_t step_tokens, int64_t kv_bytes = 0) {
  Loaded l;
  l.checkpoint = Checkpoint::open("tests/golden/models/llama31").value();
  ModelOptions options;
  options.scheme = "int8-minmax";  // whose results are the same bits whatever shares the step
  options.max_batch = max_batch;
  options.max_step_tokens = step_tokens;
  options.max_context = 256;
  options.kv_bytes = kv_bytes;
  auto model = Model::load(l.checkpoint, make_cpu_ops({2, "auto"}).value(), options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  l.model = std::move(model).value();
  l.tokenizer = Tokenizer::create(l.checkpoint->tokenizer).value();
  return l;
}

// log p(token) after tokens [0, position], from a table of all logits.
double logprob(const std::vector<float>& logits, size_t vocab, int32_t position, int32_t token) {
  const float* row = logits.data() + static_cast<size_t>(position) * vocab;
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]));
  return row[token] - std::log(sum);
}

std::vector<ScoreRequest> requests(size_t n, int32_t shared) {
  std::vector<ScoreRequest> list;
  for (size_t i = 0; i < n; ++i) {
    ScoreRequest request;
    for (int32_t t = 0; t < shared; ++t) request.tokens.push_back(20 + t * 7 % 200);
    for (size_t t = 0; t < 3 + i * 5 % 23; ++t)
      request.tokens.push_back(static_cast<int32_t>(20 + (i * 31 + t * 11) % 200));
    const auto last = static_cast<int32_t>(request.tokens.size()) - 1;
    if (i % 2 == 0) {
      for (const int32_t letter : {40, 41, 42, 43}) request.targets.push_back({last, letter});
    } else {
      for (int32_t p = last - 2; p <= last; ++p) request.targets.push_back({p, 50 + p % 9});
    }
    list.push_back(std::move(request));
  }
  return list;
}

TEST(Scorer, IsThatOfOneTextAtATime) {
  auto l = load(8, 64);
  const auto list = requests(30, 40);
  Scorer scorer(*l.model);
  const auto scores = scorer.score(list);
  ASSERT_TRUE(scores.ok()) << scores.status().message();
  const auto vocab = static_cast<size_t>(l.model->config().vocab_size);
  for (size_t i = 0; i < list.size(); ++i) {
    const auto logits = test::Feeder(*l.model).logits(list[i].tokens, 17);
    ASSERT_EQ((*scores)[i].size(), list[i].targets.size());
    for (size_t t = 0; t < list[i].targets.size(); ++t) {
      EXPECT_NEAR((*scores)[i][t],
                  logprob(logits, vocab, list[i].targets[t].position, list[i].targets[t].token), 2e-5)
          << i;
    }
  }
}

TEST(Scorer, TheSharedBeginningIsComputedOnce) {
  auto l = load(8, 64);
  const auto list = requests(30, 100);
  int64_t all = 0;
  for (const auto& request : list) all += std::ssize(request.tokens);
  Scorer scorer(*l.model);
  ASSERT_TRUE(scorer.score(list).ok());
  const int32_t page = l.model->cache().page_size;
  const int64_t beginning = 100 - 100 % page;
  EXPECT_EQ(scorer.computed(), all - 29 * beginning);
  ASSERT_TRUE(
      scorer.score(list).ok());  // again: it is still there, but for the page that holds its last token
  EXPECT_EQ(scorer.computed(), 2 * (all - 29 * beginning) - (beginning - page));
}

TEST(Scorer, StepsAndCacheOfAnySizeGiveTheSameBits) {
  const auto list = requests(25, 33);
  std::vector<std::vector<std::vector<float>>> all;
  for (const auto& [batch, tokens] : {std::pair{1, 7}, {4, 33}, {64, 512}}) {
    auto l = load(batch, tokens);
    all.push_back(Scorer(*l.model).score(list).value());
  }
  const int64_t one_sequence = 256 * load(4, 33).model->memory().kv_bytes_per_token;
  auto small = load(4, 33, one_sequence);  // texts wait until others have left the cache
  EXPECT_EQ(small.model->memory().kv_tokens, 256);
  all.push_back(Scorer(*small.model).score(list).value());
  for (size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i], all[0]) << i;
}

TEST(Scorer, ATextThatIsTooLong) {
  auto l = load(2, 16);
  ScoreRequest request;
  request.tokens.assign(300, 21);
  request.targets = {{299, 5}};
  const auto scores = Scorer(*l.model).score({request});
  ASSERT_FALSE(scores.ok());
  EXPECT_NE(scores.status().message().find("--max-context"), std::string::npos);
}

TEST(Choices, SpacesAtTheEndBelongToTheContinuation) {
  auto l = load(2, 16);
  const EncodedPair a = encode_pair(*l.tokenizer, "Question: why? ", "because"),
                    b = encode_pair(*l.tokenizer, "Question: why?", " because");
  EXPECT_EQ(a.context, b.context);
  EXPECT_EQ(a.continuation, b.continuation);
  std::vector<int32_t> whole = a.context;
  whole.insert(whole.end(), a.continuation.begin(), a.continuation.end());
  EXPECT_EQ(whole, l.tokenizer->encode("Question: why? because"));
}

ChoiceSet small_set() {
  ChoiceSet set;
  set.groups = {{"one", "About one.\n\n", {"1+1?\nAnswer: 2\n\n", "2+2?\nAnswer: 4\n\n"}}, {"two", "", {}}};
  for (int i = 0; i < 6; ++i) {
    set.questions.push_back({i < 4 ? size_t{0} : size_t{1}, "Is it " + std::to_string(i) + "?\nAnswer:",
                             i % 2 == 0 ? std::vector<std::string>{"yes it is", "no", "both of them"}
                                        : std::vector<std::string>{"A", "B"},
                             i % 2});
  }
  return set;
}

TEST(Choices, AnswersAreTheLikeliestChoices) {
  auto l = load(8, 64);
  const ChoiceSet set = small_set();
  auto journal = Journal::open("", {}).value();
  const auto answers = answer_choices(*l.model, *l.tokenizer, set, {}, journal);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_EQ(answers->shots_left_out, 0);
  const auto vocab = static_cast<size_t>(l.model->config().vocab_size);
  for (size_t i = 0; i < set.questions.size(); ++i) {
    const auto& q = set.questions[i];
    std::string context = set.groups[q.group].preamble;
    for (const auto& shot : set.groups[q.group].shots) context += shot;
    std::vector<double> raw, normed;
    for (const auto& choice : q.choices) {
      const auto begin = std::ssize(l.tokenizer->encode(context + q.text));
      const auto ids = l.tokenizer->encode(context + q.text + " " + choice);
      const auto logits = test::Feeder(*l.model).logits(ids, 32);
      double sum = 0;
      for (auto t = begin; t < std::ssize(ids); ++t)
        sum += logprob(logits, vocab, static_cast<int32_t>(t - 1), ids[static_cast<size_t>(t)]);
      raw.push_back(sum);
      normed.push_back(sum / static_cast<double>(choice.size()));
    }
    EXPECT_EQ(answers->picked[i], std::max_element(raw.begin(), raw.end()) - raw.begin()) << i;
    EXPECT_EQ(answers->picked_by_character[i],
              std::max_element(normed.begin(), normed.end()) - normed.begin())
        << i;
  }
}

TEST(Choices, ExamplesThatDoNotFitAreLeftOut) {
  auto l = load(2, 64);
  ChoiceSet set = small_set();
  set.groups[0].shots.insert(set.groups[0].shots.begin(), std::string(2000, 'x') + "\n\n");
  auto journal = Journal::open("", {}).value();
  const auto answers = answer_choices(*l.model, *l.tokenizer, set, {}, journal);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_EQ(answers->shots_left_out, 4);
  const auto without = answer_choices(*l.model, *l.tokenizer, small_set(), {}, journal);
  EXPECT_EQ(answers->picked, without->picked);  // the last two examples are there
}

TEST(Choices, GradesByHand) {
  const ChoiceSet set = small_set();  // answers 0 1 0 1 | 0 1
  const ChoiceResult r = grade(set, {{0, 1, 0, 0, 1, 1}, {0, 0, 0, 0, 0, 0}, 0});
  EXPECT_DOUBLE_EQ(r.accuracy.value, 4.0 / 6);
  EXPECT_NEAR(r.accuracy.error, std::sqrt(4.0 / 6 * 2 / 6 / 5), 1e-12);
  EXPECT_DOUBLE_EQ(r.accuracy_by_character.value, 0.5);
  EXPECT_DOUBLE_EQ(r.macro.value, (0.75 + 0.5) / 2);
  // Groups' errors: sqrt(0.75 * 0.25 / 3) and sqrt(0.5 * 0.5 / 1)
  EXPECT_NEAR(r.macro.error, std::sqrt(0.0625 + 0.25) / 2, 1e-12);
  const PairedDifference d = compare_answers(set, {{0, 1, 0, 0, 1, 1}, {}, 0}, {{1, 1, 0, 1, 1, 1}, {}, 0});
  EXPECT_EQ(d.only_model, 1);
  EXPECT_EQ(d.only_baseline, 1);
  EXPECT_EQ(d.difference, 0);
}

TEST(WordProblems, NumbersInText) {
  EXPECT_EQ(strict_answer("so 3 + 4 = 7\n#### 1,234.\nmore"), 1234.0);
  EXPECT_EQ(strict_answer("#### -12"), -12.0);
  EXPECT_EQ(strict_answer("it is 12"), std::nullopt);
  EXPECT_EQ(flexible_answer("First 3, then it costs $1,250.50."), 1250.5);
  EXPECT_EQ(flexible_answer("the answer is 7"), 7.0);
  EXPECT_EQ(flexible_answer("it is -5 degrees..."), -5.0);
  EXPECT_EQ(flexible_answer("none at all ..."), std::nullopt);
}

TEST(WordProblems, EveryProblemIsAnsweredOrOneSaysWhyNot) {
  auto l = load(4, 64);
  EngineOptions options;
  options.max_batch = 4;
  options.max_step_tokens = 64;
  const auto engine = Engine::create(*l.model, options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::vector<WordProblem> problems(70, {"How many?", "", 3});
  auto journal = Journal::open("", {}).value();
  const auto answers = answer_problems(**engine, *l.tokenizer, problems, {{}, 6}, {}, journal);
  ASSERT_TRUE(answers.ok()) << answers.status().message();
  EXPECT_EQ(answers->strict.size(), 70u);
  EXPECT_EQ(answers->flexible.size(), 70u);
  problems[40].question = std::string(5000, 'x');
  const auto too_long = answer_problems(**engine, *l.tokenizer, problems, {{}, 6}, {}, journal);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace octet
