#include "eval/csv.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

using Fields = std::vector<std::string>;

std::vector<Fields> fields(const std::string& text) {
  const auto rows = parse_csv(text, "x.csv");
  EXPECT_TRUE(rows.ok()) << rows.status().message();
  std::vector<Fields> out;
  for (const auto& row : *rows) out.push_back(row.fields);
  return out;
}

TEST(Csv, PlainAndQuoted) {
  EXPECT_EQ(fields("a,b,c\n1,2,3\n"), (std::vector<Fields>{{"a", "b", "c"}, {"1", "2", "3"}}));
  EXPECT_EQ(fields("\"a,b\",c"), (std::vector<Fields>{{"a,b", "c"}}));
  EXPECT_EQ(fields("\"say \"\"hi\"\"\",x\r\n"), (std::vector<Fields>{{"say \"hi\"", "x"}}));
  EXPECT_EQ(fields("\"two\nlines\",\"\",end\r\nnext,,\r\n"),
            (std::vector<Fields>{{"two\nlines", "", "end"}, {"next", "", ""}}));
  EXPECT_EQ(fields("in \"the\" middle,b\n"), (std::vector<Fields>{{"in \"the\" middle", "b"}}));
  EXPECT_EQ(fields("\n\na\n\n"), (std::vector<Fields>{{"a"}}));
  EXPECT_EQ(fields(""), std::vector<Fields>{});
  EXPECT_EQ(fields("a,"), (std::vector<Fields>{{"a", ""}}));
}

TEST(Csv, LinesAreThoseOfTheFile) {
  const auto rows = parse_csv("a\n\"b\nb\nb\"\nc\n", "x.csv");
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[1].line, 2);
  EXPECT_EQ((*rows)[2].line, 5);
}

TEST(Csv, MistakesNameTheLine) {
  EXPECT_EQ(parse_csv("a\nb,\"never\nclosed", "x.csv").status().message(),
            "x.csv: line 2: a quote is opened and never closed");
  EXPECT_EQ(parse_csv("a\n\"b\"c,d\n", "x.csv").status().message(),
            "x.csv: line 2: text after a closing quote");
}

}  // namespace
}  // namespace octet
