#include "eval/journal.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/mapped_file.h"
#include "eval/units.h"

namespace octet {
namespace {

using nlohmann::json;

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ =
        testing::TempDir() + "octet_journal_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string text() const { return read_text_file(path_).value(); }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  // Its message; empty where the journal opens.
  std::string open_error(const json& run) const {
    const auto journal = Journal::open(path_, run);
    return journal.ok() ? "" : journal.status().message();
  }

  std::string path_;
  const json run_ = {{"model", "m"}, {"limit", 3}};
};

TEST_F(JournalTest, GoesOnWhereItEnded) {
  {
    auto journal = Journal::open(path_, run_);
    ASSERT_TRUE(journal.ok()) << journal.status().message();
    EXPECT_TRUE(journal->done().empty());
    ASSERT_TRUE(journal->append("a", {{"x", 0.1}}).ok());
    ASSERT_TRUE(journal->append("b", 7).ok());
  }
  auto journal = Journal::open(path_, run_);
  ASSERT_TRUE(journal.ok());
  ASSERT_EQ(journal->done().size(), 2u);
  EXPECT_EQ(journal->done().at("a")["x"].get<double>(), 0.1);  // bit for bit
  journal->remove();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JournalTest, ATornLineIsDropped) {
  {
    auto journal = Journal::open(path_, run_);
    ASSERT_TRUE(journal->append("a", 1).ok());
    ASSERT_TRUE(journal->append("b", 2).ok());
  }
  const std::string whole = text();
  const size_t second_line_end = whole.find('\n', whole.find('\n') + 1) + 1;
  for (size_t size = second_line_end; size < whole.size(); ++size) {
    write(whole.substr(0, size));
    auto journal = Journal::open(path_, run_);
    ASSERT_TRUE(journal.ok()) << journal.status().message();
    EXPECT_EQ(journal->done().size(), 1u);
    ASSERT_TRUE(journal->append("b", 2).ok());
    EXPECT_EQ(text(), whole);
  }
}

TEST_F(JournalTest, AnotherRunsStateIsRefusedAndSaysWhy) {
  ASSERT_EQ(open_error(run_), "");
  json other = run_;
  other["limit"] = 4;
  const std::string message = open_error(other);
  EXPECT_NE(message.find("limit is 3, this run's is 4"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST_F(JournalTest, WhatIsNoJournalIsLeftAlone) {
  for (const char* text_there :
       {"notes\n", "{}\n", "[1]\n", "{\"run\":{\"model\":\"m\",\"limit\":3}}\n{\"unit\":1}\n"}) {
    write(text_there);
    EXPECT_NE(open_error(run_).find("no state of an evaluation"), std::string::npos) << text_there;
    EXPECT_EQ(text(), text_there);
  }
}

TEST_F(JournalTest, AFolderThatIsNotThere) {
  EXPECT_NE(Journal::open(path_ + "/none/x", run_).status().message().find("cannot write"),
            std::string::npos);
}

TEST_F(JournalTest, UnitsGoOnAfterAnInterruption) {
  const std::vector<Unit> units = {{"u0"}, {"u1"}, {"u2"}, {"u3"}};
  std::vector<size_t> worked;
  const auto work = [&](size_t unit) -> Result<json> {
    worked.push_back(unit);
    return json(unit * 10);
  };
  {
    auto journal = Journal::open(path_, run_);
    const auto results =
        run_units(units, {"test", "units", [&] { return worked.size() == 2; }}, *journal, work);
    ASSERT_FALSE(results.ok());
    EXPECT_EQ(results.status().code(), StatusCode::kUnavailable);
  }
  EXPECT_EQ(worked, (std::vector<size_t>{0, 1}));
  auto journal = Journal::open(path_, run_);
  const auto results = run_units(units, {"test", "units", nullptr}, *journal, work);
  ASSERT_TRUE(results.ok());
  EXPECT_EQ(worked, (std::vector<size_t>{0, 1, 2, 3}));
  EXPECT_EQ(*results, (std::vector<json>{0, 10, 20, 30}));
}

}  // namespace
}  // namespace octet
