#include "eval/windows.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

std::vector<std::vector<int64_t>> cut(int64_t n, WindowOptions options) {
  const auto windows = cut_windows(n, options);
  EXPECT_TRUE(windows.ok()) << windows.status().message();
  std::vector<std::vector<int64_t>> rows;
  for (const Window& w : *windows) rows.push_back({w.begin, w.end, w.first_scored});
  return rows;
}
using Rows = std::vector<std::vector<int64_t>>;

TEST(Windows, SideBySideLeavesTheRestOut) {
  EXPECT_EQ(cut(11, {.window = 4}), (Rows{{0, 4, 1}, {4, 8, 5}}));
  EXPECT_EQ(cut(11, {.window = 4, .limit = 1}), (Rows{{0, 4, 1}}));
  EXPECT_EQ(cut(8, {.window = 4}), (Rows{{0, 4, 1}, {4, 8, 5}}));
}

TEST(Windows, WithBosTheFirstTokenIsScoredToo) {
  EXPECT_EQ(cut(7, {.window = 4, .bos = true}), (Rows{{0, 3, 0}, {3, 6, 3}}));
}

TEST(Windows, StridedScoresEveryTokenOnce) {
  EXPECT_EQ(cut(11, {.window = 6, .stride = 3}), (Rows{{0, 6, 1}, {3, 9, 6}, {6, 11, 9}}));
  EXPECT_EQ(cut(9, {.window = 6, .stride = 3}), (Rows{{0, 6, 1}, {3, 9, 6}}));
  // Whole windows: nothing before a window's first token, so it cannot be scored.
  EXPECT_EQ(cut(7, {.window = 4, .stride = 4}), (Rows{{0, 4, 1}, {4, 7, 5}}));
}

TEST(Windows, OptionsThatMakeNoSense) {
  for (const WindowOptions& o :
       {WindowOptions{.window = 1}, WindowOptions{.window = 2, .bos = true},
        WindowOptions{.window = 8, .stride = 9}, WindowOptions{.window = 8, .stride = -1},
        WindowOptions{.window = 8, .limit = -1}, WindowOptions{.window = 200}}) {
    const auto windows = cut_windows(100, o);
    ASSERT_FALSE(windows.ok());
    EXPECT_EQ(windows.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(windows.status().message().find("--"), std::string::npos) << windows.status().message();
  }
}

TEST(Windows, BosComesBeforeTheTokens) {
  const std::vector<int32_t> text = {10, 11, 12, 13, 14, 15};
  const WindowTokens plain = window_tokens(text, {2, 5, 3}, -1);
  EXPECT_EQ(plain.ids, (std::vector<int32_t>{12, 13, 14}));
  EXPECT_EQ(plain.first_scored, 1);
  const WindowTokens bos = window_tokens(text, {2, 5, 2}, 7);
  EXPECT_EQ(bos.ids, (std::vector<int32_t>{7, 12, 13, 14}));
  EXPECT_EQ(bos.first_scored, 1);
}

// What the steps compute, put together: every token but the last once, in order, and a row for every scored
// one.
TEST(Windows, StepsKeepTheLimitsAndMissNothing) {
  for (const int32_t n : {2, 3, 17, 64}) {
    for (const int32_t first_scored : {1, 2, n / 2 + 1, n - 1}) {
      for (const StepLimits limits :
           {StepLimits{64, 64, 4}, StepLimits{5, 2, 4}, StepLimits{7, 64, 3}, StepLimits{1, 1, 1}}) {
        WindowTokens window;
        for (int32_t i = 0; i < n; ++i) window.ids.push_back(100 + i);
        window.first_scored = std::min(std::max(first_scored, 1), n - 1);
        int32_t next_token = 0, next_target = window.first_scored;
        const auto status =
            for_each_step(window, limits, [&](const ForwardBatch& batch, int32_t first_target) -> Status {
              EXPECT_LE(batch.n_tokens(), limits.max_tokens);
              EXPECT_LE(batch.n_logits(), limits.max_rows);
              EXPECT_EQ(batch.context_lens.at(0), next_token + batch.n_tokens());
              EXPECT_EQ(batch.page_table_stride,
                        (next_token + batch.n_tokens() + limits.page_size - 1) / limits.page_size);
              for (int32_t i = 0; i < batch.n_tokens(); ++i) {
                EXPECT_EQ(batch.token_ids[static_cast<size_t>(i)], 100 + next_token + i);
                EXPECT_EQ(batch.positions[static_cast<size_t>(i)], next_token + i);
              }
              EXPECT_EQ(first_target, batch.n_logits() == 0 ? -1 : next_target);
              for (int32_t i = 0; i < batch.n_logits(); ++i) {
                EXPECT_EQ(batch.logit_rows[static_cast<size_t>(i)] + next_token + 1, next_target + i);
              }
              next_target += batch.n_logits();
              next_token += batch.n_tokens();
              return {};
            });
        ASSERT_TRUE(status.ok());
        EXPECT_EQ(next_token, n - 1);
        EXPECT_EQ(next_target, n);
      }
    }
  }
}

}  // namespace
}  // namespace octet
