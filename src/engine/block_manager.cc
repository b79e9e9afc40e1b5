#include "engine/block_manager.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace octet {

BlockManager::BlockManager(int32_t n_pages, int32_t page_size, bool prefix_cache)
    : page_size_(page_size), prefix_cache_(prefix_cache), pages_(n_pages) {
  OCTET_CHECK(n_pages > 0 && page_size > 0);
  if (prefix_cache) {
    tokens_.resize(static_cast<size_t>(n_pages) * page_size);
    buckets_.assign(std::bit_ceil(static_cast<size_t>(n_pages) * 2), -1);
  }
  for (int32_t page = 0; page < n_pages; ++page) link(page, tail_);
}

bool BlockManager::can_allocate(std::span<const int32_t> tokens, int32_t max_cached, int32_t spare) const {
  if (n_free_ <= spare) return false;  // the last token's page is always a new one
  const Match cached = match(tokens, max_cached);
  const int32_t n_new = pages_for(static_cast<int64_t>(tokens.size())) - cached.n_pages;
  return n_new + cached.n_unreferenced + spare <= n_free_;
}

int32_t BlockManager::allocate(std::span<const int32_t> tokens, int32_t max_cached, PageTable& table) {
  OCTET_CHECK(table.pages.empty());
  const int32_t n_cached = match(tokens, max_cached).n_pages;
  for (int32_t i = 0; i < n_cached; ++i) {
    const uint64_t parent = content_before(table, i);
    const int32_t page = find(parent, tokens.subspan(static_cast<size_t>(i) * page_size_, page_size_));
    reference(page);
    table.pages.push_back(page);
  }
  table.n_published = n_cached;
  append(table, static_cast<int32_t>(tokens.size()));
  return n_cached * page_size_;
}

bool BlockManager::may_append(const PageTable& table, int32_t n_tokens) const {
  return pages_for(n_tokens) - static_cast<int32_t>(table.pages.size()) <= n_free_;
}

void BlockManager::append(PageTable& table, int32_t n_tokens) {
  while (static_cast<int32_t>(table.pages.size()) < pages_for(n_tokens)) table.pages.push_back(take_free());
}

void BlockManager::publish(std::span<const int32_t> tokens, int32_t n_computed, PageTable& table) {
  if (!prefix_cache_) return;
  for (int32_t& i = table.n_published; (i + 1) * page_size_ <= n_computed; ++i) {
    const auto text = tokens.subspan(static_cast<size_t>(i) * page_size_, page_size_);
    const uint64_t parent = content_before(table, i);
    const int32_t page = table.pages[i];
    if (const int32_t same = find(parent, text); same >= 0) {
      reference(same);
      release(page);
      table.pages[i] = same;
      continue;
    }
    std::copy(text.begin(), text.end(), tokens_.begin() + static_cast<int64_t>(page) * page_size_);
    const size_t bucket = bucket_of(parent, text);
    pages_[page].parent = parent;
    pages_[page].content = ++last_content_;
    pages_[page].next_in_bucket = buckets_[bucket];
    buckets_[bucket] = page;
  }
}

void BlockManager::free(PageTable& table) {
  std::for_each(table.pages.rbegin(), table.pages.rend(), [this](int32_t page) { release(page); });
  table.pages.clear();
  table.n_published = 0;
}

BlockManager::Match BlockManager::match(std::span<const int32_t> tokens, int32_t max_cached) const {
  Match result;
  if (!prefix_cache_) return result;
  const int32_t limit = std::min(max_cached, static_cast<int32_t>(tokens.size()) - 1) / page_size_;
  for (uint64_t parent = 0; result.n_pages < limit; ++result.n_pages) {
    const int32_t page =
        find(parent, tokens.subspan(static_cast<size_t>(result.n_pages) * page_size_, page_size_));
    if (page < 0) break;
    if (pages_[page].references == 0) ++result.n_unreferenced;
    parent = pages_[page].content;
  }
  return result;
}

int32_t BlockManager::find(uint64_t parent, std::span<const int32_t> tokens) const {
  int32_t page = buckets_[bucket_of(parent, tokens)];
  while (page >= 0 && !(pages_[page].parent == parent && std::ranges::equal(tokens_of(page), tokens))) {
    page = pages_[page].next_in_bucket;
  }
  return page;
}

size_t BlockManager::bucket_of(uint64_t parent, std::span<const int32_t> tokens) const {
  uint64_t hash = parent + 0x9e3779b97f4a7c15u;
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash & (buckets_.size() - 1);
}

std::span<const int32_t> BlockManager::tokens_of(int32_t page) const {
  return std::span(tokens_).subspan(static_cast<size_t>(page) * page_size_, page_size_);
}

uint64_t BlockManager::content_before(const PageTable& table, int32_t i) const {
  return i == 0 ? 0 : pages_[table.pages[i - 1]].content;
}

int32_t BlockManager::take_free() {
  OCTET_CHECK(head_ >= 0) << "a page was taken that may_append would have refused";
  const int32_t page = head_;
  if (pages_[page].content != 0) unpublish(page);
  reference(page);
  return page;
}

void BlockManager::reference(int32_t page) {
  if (pages_[page].references++ == 0) unlink(page);
}

void BlockManager::release(int32_t page) {
  OCTET_CHECK(pages_[page].references > 0);
  if (--pages_[page].references > 0) return;
  const bool cached = pages_[page].content != 0;
  link(page, cached ? tail_ : -1);
}

void BlockManager::unpublish(int32_t page) {
  int32_t* place = &buckets_[bucket_of(pages_[page].parent, tokens_of(page))];
  while (*place != page) place = &pages_[*place].next_in_bucket;
  *place = pages_[page].next_in_bucket;
  pages_[page].next_in_bucket = -1;
  pages_[page].content = pages_[page].parent = 0;
}

// Into the free list behind `after`; -1: as its head.
void BlockManager::link(int32_t page, int32_t after) {
  const int32_t before = after < 0 ? head_ : pages_[after].next;
  pages_[page].previous = after;
  pages_[page].next = before;
  (after < 0 ? head_ : pages_[after].next) = page;
  (before < 0 ? tail_ : pages_[before].previous) = page;
  ++n_free_;
}

void BlockManager::unlink(int32_t page) {
  const auto [previous, next] = std::pair(pages_[page].previous, pages_[page].next);
  (previous < 0 ? head_ : pages_[previous].next) = next;
  (next < 0 ? tail_ : pages_[next].previous) = previous;
  --n_free_;
}

}  // namespace octet
