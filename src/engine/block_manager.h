// Who owns which page of the key-value cache: reference counts, and the prefix cache. Integers only; the
// bytes are model/kv_cache.h's.
//
// Prefix cache. A full page whose keys and values have been computed is published under (content id of the
// page before it, its own tokens). Content ids are given once and never again, so equal keys mean equal text
// from the first token on: the hash only finds the bucket, the tokens are always compared, and no collision
// can hand a sequence somebody else's keys. (vLLM's "automatic prefix caching" chains hashes instead.)
//
// A published page that nobody references keeps its content until its memory is needed: least recently used
// first, and of one text the last page first, so that a cached page's predecessor is always cached, too.
//
// All memory is taken in the constructor; only PageTable::pages, the caller's, may grow.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octet {

// The pages of one sequence, in order of position.
struct PageTable {
  std::vector<int32_t> pages;
  int32_t n_published = 0;  // leading pages that stand in the prefix cache
};

class BlockManager {
 public:
  BlockManager(int32_t n_pages, int32_t page_size, bool prefix_cache);

  int32_t n_pages() const { return static_cast<int32_t>(pages_.size()); }
  int32_t page_size() const { return page_size_; }
  bool has_prefix_cache() const { return prefix_cache_; }
  int32_t n_free() const { return n_free_; }  // pages that nobody references, cached or not
  int32_t n_used() const { return n_pages() - n_free_; }
  int32_t references(int32_t page) const { return pages_[page].references; }
  int32_t pages_for(int64_t n_tokens) const {
    return static_cast<int32_t>((n_tokens + page_size_ - 1) / page_size_);
  }

  // Admission of a sequence of tokens.size() > 0 tokens. At most the first `max_cached` of them may come from
  // the prefix cache, and never the last one: its logits are wanted. `spare` pages stay free for others.
  bool can_allocate(std::span<const int32_t> tokens, int32_t max_cached, int32_t spare) const;
  // Fills the empty table; returns the number of leading tokens that are in the cache already. Only after
  // can_allocate.
  int32_t allocate(std::span<const int32_t> tokens, int32_t max_cached, PageTable& table);

  // Room for the sequence to have n_tokens tokens.
  bool may_append(const PageTable& table, int32_t n_tokens) const;
  void append(PageTable& table, int32_t n_tokens);

  // The first n_computed tokens are in the cache: their full pages can be shared from now on. Where the same
  // text was published by somebody else meanwhile, the table takes over that page and gives its own back.
  void publish(std::span<const int32_t> tokens, int32_t n_computed, PageTable& table);

  void free(
      PageTable& table);  // leaves it empty; published pages stay cached while their memory is not needed

 private:
  struct Page {
    int32_t references = 0;
    int32_t previous = -1, next = -1;  // in the list of free pages
    int32_t next_in_bucket = -1;
    uint64_t content = 0;  // id of the text up to the end of this page; 0: not published
    uint64_t parent = 0;   // content id of the page before it; 0: it is the first
  };
  struct Match {
    int32_t n_pages = 0, n_unreferenced = 0;
  };

  Match match(std::span<const int32_t> tokens, int32_t max_cached) const;
  int32_t find(uint64_t parent, std::span<const int32_t> tokens) const;  // -1: not there
  size_t bucket_of(uint64_t parent, std::span<const int32_t> tokens) const;
  std::span<const int32_t> tokens_of(int32_t page) const;
  uint64_t content_before(const PageTable& table, int32_t i) const;

  int32_t take_free();  // the page at the head of the free list, forgotten by the prefix cache
  void reference(int32_t page);
  void release(int32_t page);
  void unpublish(int32_t page);
  void link(int32_t page, int32_t after);
  void unlink(int32_t page);

  const int32_t page_size_;
  const bool prefix_cache_;
  std::vector<Page> pages_;        // [n_pages]
  std::vector<int32_t> tokens_;    // [n_pages, page_size] of published pages
  std::vector<int32_t> buckets_;   // heads of the hash chains, a power of two of them
  int32_t head_ = -1, tail_ = -1;  // free pages: empty ones, then cached ones, least recently used first
  int32_t n_free_ = 0;
  uint64_t last_content_ = 0;
};

}  // namespace octet
