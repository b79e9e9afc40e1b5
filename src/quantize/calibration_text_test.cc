#include "quantize/calibration_text.h"

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "formats/test_util.h"

namespace octet {
namespace {

using octet::testing::TempFolder;

class CalibrationText : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Checkpoint::open("tests/golden/models/llama31");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    checkpoint_ = *opened;
  }

  Result<TokenSequences> read(const std::string& name, const std::string& bytes, int32_t samples = 2,
                              int32_t length = 16) {
    folder_.write(name, bytes);
    return read_calibration_files(*checkpoint_, {{folder_.path(name)}, samples, length, 0});
  }
  void expect_error(const Status& status, const std::string& part) {
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }

  std::shared_ptr<Checkpoint> checkpoint_;
  TempFolder folder_;
};

std::string words(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += "word " + std::to_string(i * i) + " ";
  return text;
}

TEST_F(CalibrationText, SamplesAreSpreadOverTheFile) {
  const auto sequences = read("a.txt", words(400), 3, 32);
  ASSERT_TRUE(sequences.ok()) << sequences.status().message();
  ASSERT_EQ(sequences->size(), 3u);
  for (const auto& ids : *sequences) EXPECT_EQ(ids.size(), 32u);
  EXPECT_NE((*sequences)[0], (*sequences)[1]);
  EXPECT_NE((*sequences)[1], (*sequences)[2]);
}

TEST_F(CalibrationText, JsonLinesGiveTextsAndConversations) {
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "What is a whale?"}, {"role": "assistant", "content": "A mammal."}]})";
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += chat + "\n\n{\"text\": \"" + words(10) + "\"}\n";
  const auto sequences = read("a.jsonl", lines);
  ASSERT_TRUE(sequences.ok()) << sequences.status().message();
  EXPECT_EQ(sequences->front().size(), 16u);
}

TEST_F(CalibrationText, BadFilesAreNamed) {
  expect_error(read("empty.txt", "").status(), "empty.txt: the file is empty");
  expect_error(read("blank.txt", " \n\n").status(), "blank.txt: the file is empty");
  expect_error(read("latin.txt", "a line\ncaf\xe9\n").status(), "latin.txt:2: the text is not UTF-8");
  expect_error(read("short.txt", "too short").status(), "fewer than 2 samples of 16");
  expect_error(read("a.jsonl", "{\"text\": \"x\"}\n{\"prompt\": 1}\n").status(),
               "a.jsonl:2: expected a JSON object");
  expect_error(read("b.jsonl", "{\"text\": ").status(), "b.jsonl:1: expected a JSON object");
  expect_error(read_calibration_files(*checkpoint_, {{folder_.path("none")}, 2, 16, 0}).status(), "none");
}

TEST_F(CalibrationText, SizesAreChecked) {
  expect_error(check_calibration_options(*checkpoint_, {{"self"}, 1, 16, 0}), "--samples");
  expect_error(check_calibration_options(*checkpoint_, {{"self"}, 2, 1 << 20, 0}),
               "--sequence-length 1048576");
}

TEST_F(CalibrationText, TheModelsOwnTextDependsOnTheSeedAlone) {
  const auto write = [&](uint64_t seed, int threads) {
    auto sequences = write_own_text(checkpoint_, std::move(make_cpu_ops({threads, "generic"})).value(),
                                    {{"self"}, 3, 24, seed});
    EXPECT_TRUE(sequences.ok()) << sequences.status().message();
    return sequences.ok() ? *sequences : TokenSequences();
  };
  const auto first = write(7, 1);
  ASSERT_EQ(first.size(), 3u);
  for (const auto& ids : first) EXPECT_EQ(ids.size(), 24u);
  EXPECT_EQ(first, write(7, 2));
  EXPECT_NE(first, write(8, 1));
}

}  // namespace
}  // namespace octet
