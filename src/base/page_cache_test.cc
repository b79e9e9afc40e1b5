#include "base/page_cache.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace octet {
namespace {

TEST(PageCache, WhatWasJustWrittenIsInMemory) {
  std::string path = ::testing::TempDir() + "page_cache_XXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  EXPECT_EQ(page_cache_share({path}).value(), 0) << "an empty file has no pages";
  std::ofstream(path) << std::string(1 << 20, 'x');
  const auto before = page_cache_share({path, path});
  ASSERT_TRUE(before.ok()) << before.status().message();
  EXPECT_EQ(*before, 1);
  // Whether the system follows the request is its own affair; the file stays what it was.
  EXPECT_TRUE(drop_from_page_cache({path}).ok());
  EXPECT_TRUE(page_cache_share({path}).ok());
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  EXPECT_EQ(text.size(), size_t{1} << 20);
  std::remove(path.c_str());
}

TEST(PageCache, AFileThatIsNotThereIsNamed) {
  for (const Status& status : {drop_from_page_cache({"/no/such"}), page_cache_share({"/no/such"}).status()}) {
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_NE(status.message().find("/no/such"), std::string::npos);
  }
}

}  // namespace
}  // namespace octet
