#include "engine/block_manager.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

namespace octet {
namespace {

constexpr int32_t kAll = 1 << 30;

std::vector<int32_t> text(int32_t n, int32_t first = 0) {
  std::vector<int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

PageTable computed(BlockManager& pages, const std::vector<int32_t>& tokens) {
  PageTable table;
  EXPECT_TRUE(pages.can_allocate(tokens, kAll, 0));
  pages.allocate(tokens, kAll, table);
  pages.publish(tokens, static_cast<int32_t>(tokens.size()), table);
  return table;
}

TEST(BlockManager, GivesPagesOfItsOwnToEachSequence) {
  BlockManager pages(8, 4, true);
  PageTable a = computed(pages, text(9)), b = computed(pages, text(8, 100));
  EXPECT_EQ(a.pages.size(), 3u);
  EXPECT_EQ(b.pages.size(), 2u);
  for (const int32_t page : a.pages) EXPECT_EQ(std::ranges::count(b.pages, page), 0);
  EXPECT_EQ(pages.n_used(), 5);
  EXPECT_FALSE(pages.can_allocate(text(13, 50), kAll, 0));
  EXPECT_TRUE(pages.can_allocate(text(12, 50), kAll, 0));
  EXPECT_FALSE(pages.can_allocate(text(12, 50), kAll, 1));  // one is to stay free
  pages.free(a);
  pages.free(b);
  EXPECT_EQ(pages.n_free(), 8);
  EXPECT_TRUE(a.pages.empty());
}

TEST(BlockManager, AppendsPageByPage) {
  BlockManager pages(2, 4, true);
  PageTable a = computed(pages, text(4));
  EXPECT_TRUE(pages.may_append(a, 8));
  EXPECT_FALSE(pages.may_append(a, 9));
  pages.append(a, 5);
  EXPECT_EQ(a.pages.size(), 2u);
  EXPECT_TRUE(pages.may_append(a, 8));  // in the page it has
  pages.append(a, 8);
  EXPECT_EQ(a.pages.size(), 2u);
  EXPECT_EQ(pages.n_free(), 0);
}

TEST(BlockManager, SharesFullPagesOfTheSamePrefix) {
  BlockManager pages(8, 4, true);
  PageTable a = computed(pages, text(10));
  PageTable b;
  EXPECT_EQ(pages.allocate(text(11), kAll, b), 8);
  EXPECT_EQ(b.pages[0], a.pages[0]);
  EXPECT_EQ(b.pages[1], a.pages[1]);
  EXPECT_NE(b.pages[2], a.pages[2]);
  EXPECT_EQ(pages.references(a.pages[0]), 2);
  EXPECT_EQ(pages.n_used(), 4);
  pages.free(a);
  EXPECT_EQ(pages.references(b.pages[0]), 1);
}

TEST(BlockManager, AlwaysLeavesTheLastTokenToCompute) {
  BlockManager pages(8, 4, true);
  PageTable a = computed(pages, text(8)), b;
  EXPECT_EQ(pages.allocate(text(8), kAll, b), 4);
}

TEST(BlockManager, TakesNoMoreThanAllowedFromTheCache) {
  BlockManager pages(8, 4, true);
  PageTable a = computed(pages, text(12)), b;
  EXPECT_EQ(pages.allocate(text(12), 7, b), 4);
}

TEST(BlockManager, DoesNotShareWhatIsNotComputed) {
  BlockManager pages(8, 4, true);
  PageTable a, b;
  pages.allocate(text(8), kAll, a);
  pages.publish(text(8), 7, a);
  EXPECT_EQ(a.n_published, 1);
  EXPECT_EQ(pages.allocate(text(9), kAll, b), 4);
}

TEST(BlockManager, ComparesTheWholePrefixAndNotThePageAlone) {
  BlockManager pages(8, 2, true);
  PageTable a = computed(pages, {1, 2, 7, 8}), b;
  EXPECT_EQ(pages.allocate(std::vector<int32_t>{3, 4, 7, 8, 9}, kAll, b), 0);
}

// Three pages have a hash table of eight buckets: these texts collide all the time.
TEST(BlockManager, CollisionsOfTheHashShareNothing) {
  for (int32_t i = 0; i < 200; ++i) {
    BlockManager pages(3, 1, true);
    PageTable a = computed(pages, {i}), b;
    EXPECT_EQ(pages.allocate(std::vector<int32_t>{i + 1, 5}, kAll, b), 0);
  }
}

TEST(BlockManager, KeepsFreedPagesUntilTheirMemoryIsNeeded) {
  BlockManager pages(4, 4, true);
  PageTable a = computed(pages, text(8)), b;
  pages.free(a);
  EXPECT_EQ(pages.n_free(), 4);
  EXPECT_EQ(pages.allocate(text(9), kAll, b), 8);
  pages.free(b);
  PageTable other = computed(pages, text(16, 100));  // needs all
  pages.free(other);
  EXPECT_EQ(pages.allocate(text(9), kAll, b), 0);
}

TEST(BlockManager, EvictsLeastRecentlyUsedAndTailsFirst) {
  BlockManager pages(6, 4, true);
  PageTable a = computed(pages, text(8)), b = computed(pages, text(8, 100));
  pages.free(a);
  pages.free(b);
  PageTable touch;
  pages.allocate(text(9), kAll, touch);  // a is the younger now
  pages.free(touch);
  PageTable other;
  pages.allocate(text(12, 500), kAll, other);  // two empty pages and the tail of b
  pages.free(other);
  PageTable again;
  EXPECT_EQ(pages.allocate(text(9, 100), kAll, again), 4);  // its first page is still there
  pages.free(again);
  EXPECT_EQ(pages.allocate(text(9), kAll, again), 8);
}

TEST(BlockManager, CountsCachedPagesThatNobodyHoldsAsTaken) {
  BlockManager pages(3, 4, true);
  PageTable a = computed(pages, text(8)), b = computed(pages, text(4, 100));
  pages.free(a);
  EXPECT_EQ(pages.n_free(), 2);
  EXPECT_FALSE(pages.can_allocate(text(9), kAll, 0));  // two from the cache, and no third one free
  pages.free(b);
  EXPECT_TRUE(pages.can_allocate(text(9), kAll, 0));
  EXPECT_FALSE(pages.can_allocate(text(9), kAll, 1));
}

TEST(BlockManager, EqualTextsComputedAtOnceEndUpInTheSamePages) {
  BlockManager pages(6, 4, true);
  PageTable a, b;
  pages.allocate(text(9), kAll, a);
  pages.allocate(text(9), kAll, b);
  EXPECT_EQ(pages.n_used(), 6);
  pages.publish(text(9), 9, a);
  pages.publish(text(9), 9, b);
  EXPECT_EQ(pages.n_used(), 4);
  EXPECT_EQ(a.pages[1], b.pages[1]);
  EXPECT_NE(a.pages[2], b.pages[2]);
  pages.free(a);
  pages.free(b);
  EXPECT_EQ(pages.n_used(), 0);
}

TEST(BlockManager, WithoutPrefixCacheNothingIsShared) {
  BlockManager pages(8, 4, false);
  PageTable a = computed(pages, text(8)), b;
  EXPECT_EQ(pages.allocate(text(9), kAll, b), 0);
  EXPECT_EQ(pages.n_used(), 5);
}

}  // namespace
}  // namespace octet
