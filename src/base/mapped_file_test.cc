#include "base/mapped_file.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(MappedFile, ReadsAndReportsByName) {
  const auto path = (std::filesystem::temp_directory_path() / "octet_mapped_file_test").string();
  std::ofstream(path) << "eight bits";
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->bytes().size(), 10u);
  EXPECT_EQ(*read_text_file(path), "eight bits");
  EXPECT_FALSE(read_text_file(path, 5).ok());
  std::filesystem::remove(path);
  const auto gone = MappedFile::open(path);
  EXPECT_EQ(gone.status().code(), StatusCode::kNotFound);
  EXPECT_NE(gone.status().message().find(path), std::string::npos);
  EXPECT_EQ(MappedFile::open("/").status().code(), StatusCode::kInvalidArgument);
}

TEST(MappedFile, AnEmptyFileIsEmpty) {
  const auto path = (std::filesystem::temp_directory_path() / "octet_mapped_file_empty").string();
  std::ofstream(path).close();
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace octet
