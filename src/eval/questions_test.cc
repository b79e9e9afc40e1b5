#include "eval/questions.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "model/test_util.h"

namespace octet {
namespace {

class QuestionsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "octet_questions_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // The one line that reading the text as a file gives.
  template <typename Read>
  std::string error(const Read& read, const std::string& text) const {
    const auto set = read(write("bad.json", text), 0);
    EXPECT_FALSE(set.ok()) << text;
    if (set.ok()) return "";
    EXPECT_EQ(set.status().message().find('\n'), std::string::npos);
    return set.status().message();
  }
  std::string folder_;
};

using Strings = std::vector<std::string>;

TEST_F(QuestionsTest, MmluWithAwkwardQuotes) {
  std::string dev;
  for (int i = 0; i < 7; ++i) dev += "Dev " + std::to_string(i) + ",w,x,y,z,B\n";
  write("dev/two_words_dev.csv", dev);
  write("test/two_words_test.csv",
        "\"Which, of \"\"these\"\"\nis it?\",\"1, 2\",\"\",c,d,D\nNext?,1,2,3,4,A\n");
  const auto set = read_mmlu(folder_, 0);
  ASSERT_TRUE(set.ok()) << set.status().message();
  ASSERT_EQ(set->groups.size(), 1u);
  EXPECT_EQ(set->groups[0].name, "two_words");
  EXPECT_EQ(set->groups[0].preamble,
            "The following are multiple choice questions (with answers) about two words.\n\n");
  ASSERT_EQ(set->groups[0].shots.size(), 5u);
  EXPECT_EQ(set->groups[0].shots[4], "Dev 4\nA. w\nB. x\nC. y\nD. z\nAnswer: B\n\n");
  ASSERT_EQ(set->questions.size(), 2u);
  EXPECT_EQ(set->questions[0].text, "Which, of \"these\"\nis it?\nA. 1, 2\nB. \nC. c\nD. d\nAnswer:");
  EXPECT_EQ(set->questions[0].answer, 3);
  EXPECT_EQ(set->questions[1].choices, (Strings{"A", "B", "C", "D"}));
  EXPECT_EQ(read_mmlu(folder_, 1)->questions.size(), 1u);
}

TEST_F(QuestionsTest, MmluThatIsNotThereOrBroken) {
  EXPECT_NE(read_mmlu(folder_, 0).status().message().find("<subject>_test.csv"), std::string::npos);
  write("test/a_test.csv", "q,1,2,3,4,A\n");
  EXPECT_NE(read_mmlu(folder_, 0).status().message().find("a_dev.csv"), std::string::npos);
  write("dev/a_dev.csv", "q,1,2,3,4,A\nq,1,2,3,A\n");
  EXPECT_NE(read_mmlu(folder_, 0).status().message().find("line 2: 5 fields"), std::string::npos);
  write("dev/a_dev.csv", "q,1,2,3,4,E\n");
  EXPECT_NE(read_mmlu(folder_, 0).status().message().find("'E', expected A, B, C or D"), std::string::npos);
  write("dev/a_dev.csv", "");
  EXPECT_NE(read_mmlu(folder_, 0).status().message().find("no questions"), std::string::npos);
}

TEST_F(QuestionsTest, ArcInThreeFormats) {
  const auto check = [&](const std::string& text) {
    const auto set = read_arc(write("arc.json", text), 0);
    ASSERT_TRUE(set.ok()) << set.status().message();
    ASSERT_EQ(set->questions.size(), 1u);
    EXPECT_EQ(set->questions[0].text, "Question: What is \"hot\"?\nAnswer:");
    EXPECT_EQ(set->questions[0].choices, (Strings{"ice: cold", "fire", "air, moving"}));
    EXPECT_EQ(set->questions[0].answer, 1);
  };
  check(
      R"({"id":"1","question":{"stem":"What is \"hot\"?","choices":[{"text":"ice: cold","label":"A"},{"text":"fire","label":"B"},{"text":"air, moving","label":"C"}]},"answerKey":"B"})"
      "\n\n");
  check(
      R"({"question":"What is \"hot\"?","choices":{"text":["ice: cold","fire","air, moving"],"label":["1","2","3"]},"answerKey":"2"})");
  check(
      R"([{"instruction":"Please choose the correct answer to the question: What is \"hot\"?\n\nAnswer1: ice: cold Answer2: fire Answer3: air, moving\n\nAnswer format: answer1/answer2/answer3","answer":"answer2"}])");
}

TEST_F(QuestionsTest, PiqaInThreeFormats) {
  const auto check = [&](const Result<ChoiceSet>& set) {
    ASSERT_TRUE(set.ok()) << set.status().message();
    EXPECT_EQ(set->questions[0].text, "Question: boil water\nAnswer:");
    EXPECT_EQ(set->questions[0].choices, (Strings{"use a pot", "use a hat"}));
    EXPECT_EQ(set->questions[0].answer, 1);
  };
  const std::string line = R"({"goal":"boil water","sol1":"use a pot","sol2":"use a hat")";
  check(read_piqa(write("a.jsonl", line + ",\"label\":1}\n"), 0));
  write("valid-labels.lst", "1\n0\n");
  check(read_piqa(write("valid.jsonl", line + "}\n" + line + "}\n"), 0));
  check(read_piqa(
      write(
          "b.json",
          R"([{"instruction":"Please choose the correct solution to the question: boil water\n\nSolution1: use a pot\n\nSolution2: use a hat\n\nAnswer format: solution1/solution2","answer":"solution2"}])"),
      0));
  EXPECT_NE(read_piqa(write("c.jsonl", line + "}\n"), 0).status().message().find("no label"),
            std::string::npos);
}

TEST_F(QuestionsTest, Gsm8kInTwoFormats) {
  const auto own =
      read_gsm8k(write("a.jsonl", R"({"question":"q","answer":"Add 1,000 and 234.\n#### 1,234"})"), 0);
  ASSERT_TRUE(own.ok()) << own.status().message();
  EXPECT_EQ((*own)[0].answer, 1234);
  EXPECT_EQ((*own)[0].solution, "Add 1,000 and 234.\n#### 1,234");
  const auto other = read_gsm8k(write("b.json", R"([{"sQuestion":"q","lSolutions":18.5}])"), 0);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ((*other)[0].answer, 18.5);
  EXPECT_NE(error(read_gsm8k, R"({"question":"q","answer":"18"})").find("#### number"), std::string::npos);
  EXPECT_NE(error(read_gsm8k, R"([{"sQuestion":"q","lSolutions":"x"}])").find("lSolutions"),
            std::string::npos);
}

TEST_F(QuestionsTest, BadLinesSayWhere) {
  const std::string good =
      R"({"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"A"})";
  EXPECT_NE(error(read_arc, good + "\n{\"question\":").find("line 2"), std::string::npos);
  EXPECT_NE(error(read_arc, good + "\n7\n").find("line 2: expected an object"), std::string::npos);
  EXPECT_NE(error(read_arc, "").find("no questions"), std::string::npos);
  EXPECT_NE(error(read_arc, R"({"question":"q","answerKey":"A"})").find("choices"), std::string::npos);
  EXPECT_NE(error(read_arc, R"({"question":3,"answerKey":"A"})").find("question: expected a string"),
            std::string::npos);
  EXPECT_NE(
      error(read_arc, R"({"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"C"})")
          .find("none of the choices"),
      std::string::npos);
  EXPECT_NE(error(read_arc, R"([{"instruction":"what?","answer":"answer1"}])").find("entry 1: instruction"),
            std::string::npos);
  EXPECT_NE(error(read_arc, R"([{"instruction":"q\n\nAnswer1: a Answer2: b","answer":"answer"}])")
                .find("such as Answer1"),
            std::string::npos);
  EXPECT_NE(error(read_arc, R"([{"instruction":"q\n\nAnswer1: a Answer2: b","answer":"answer9"}])")
                .find("none of the choices"),
            std::string::npos);
}

TEST(SharedQuestions, AreReadWhole) {
  const std::string data = test::shared_data();
  if (data.empty()) GTEST_SKIP() << "no shared data";
  const auto mmlu = read_mmlu(data + "/mmlu", 0);
  ASSERT_TRUE(mmlu.ok()) << mmlu.status().message();
  EXPECT_EQ(mmlu->groups.size(), 57u);
  EXPECT_EQ(mmlu->questions.size(), 14042u);
  for (const auto& group : mmlu->groups) EXPECT_EQ(group.shots.size(), 5u) << group.name;
  const auto arc = read_arc(data + "/evals/arc_easy_test.json", 0);
  ASSERT_TRUE(arc.ok()) << arc.status().message();
  EXPECT_EQ(arc->questions.size(), 2376u);
  const auto piqa = read_piqa(data + "/evals/piqa_validation.json", 0);
  ASSERT_TRUE(piqa.ok()) << piqa.status().message();
  EXPECT_EQ(piqa->questions.size(), 1838u);
  for (const auto& question : piqa->questions) EXPECT_EQ(question.choices.size(), 2u);
  const auto gsm8k = read_gsm8k(data + "/evals/gsm8k_test_questions.json", 0);
  ASSERT_TRUE(gsm8k.ok()) << gsm8k.status().message();
  EXPECT_EQ(gsm8k->size(), 1319u);
}

}  // namespace
}  // namespace octet
