#include <set>

#include <gtest/gtest.h>

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_limits.h"
#include "backend/cuda/kernels/kv_layout.h"

namespace octet::cuda {
namespace {

AttentionSpec heads(int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, int32_t window = 0) {
  return {n_heads, n_kv_heads, head_dim, 1, window};
}

ForwardBatch batch_of(const std::vector<std::pair<int32_t, int32_t>>& past_and_new) {
  ForwardBatch b;
  b.query_start.push_back(0);
  for (const auto& [past, n_new] : past_and_new) {
    b.query_start.push_back(b.query_start.back() + n_new);
    b.context_lens.push_back(past + n_new);
  }
  b.token_ids.resize(b.query_start.back());
  return b;
}

std::vector<PrefillTile> plan(const ForwardBatch& b, const AttentionSpec& spec, bool invariant,
                              bool* has_decodes) {
  const OpsLimits limits{.max_tokens = b.n_tokens(), .max_seqs = b.n_seqs(), .attention = spec};
  std::vector<PrefillTile> tiles(static_cast<size_t>(max_prefill_tiles(limits)) + 1);
  tiles.back().seq = -77;
  const int32_t n = plan_prefill(b, spec, invariant, tiles.data(), has_decodes);
  EXPECT_LT(static_cast<size_t>(n), tiles.size());
  EXPECT_EQ(tiles.back().seq, -77);
  tiles.resize(static_cast<size_t>(n));
  return tiles;
}

TEST(AttentionPlan, TilesCoverEachChunkOnceLongestFirst) {
  const AttentionSpec spec = heads(9, 3, 64);  // 42 tokens a tile
  bool has_decodes = false;
  const ForwardBatch b = batch_of({{100, 1}, {0, 100}, {500, 43}, {0, 1}});
  const auto tiles = plan(b, spec, false, &has_decodes);
  EXPECT_TRUE(has_decodes);
  std::vector<int32_t> seen(b.n_tokens(), 0), keys;
  for (const PrefillTile& t : tiles) {
    for (int32_t i = 0; i < t.n_tokens; ++i) {
      ++seen[t.token + i];
      EXPECT_GE(t.token, b.query_start[t.seq]);
      EXPECT_LT(t.token + i, b.query_start[t.seq + 1]);
    }
    const int32_t past = b.context_lens[t.seq] - (b.query_start[t.seq + 1] - b.query_start[t.seq]);
    EXPECT_EQ(t.position, past + t.token - b.query_start[t.seq]);
    EXPECT_EQ(t.context, b.context_lens[t.seq]);
    EXPECT_EQ(t.first, 0);
    EXPECT_EQ(t.last, (t.position + t.n_tokens + 127) / 128);
    keys.push_back(t.last - t.first);
  }
  for (int32_t i = 0; i < b.n_tokens(); ++i) {
    const bool decode = i == 0 || i == b.n_tokens() - 1;
    EXPECT_EQ(seen[i], decode ? 0 : 1) << i;
  }
  EXPECT_TRUE(std::is_sorted(keys.rbegin(), keys.rend()));
}

TEST(AttentionPlan, TilesBeginInTheWindow) {
  bool has_decodes = false;
  const auto tiles = plan(batch_of({{1000, 64}}), heads(32, 8, 128, 300), false, &has_decodes);
  ASSERT_EQ(tiles.size(), 2u);  // of tokens 1000 to 1031 and 1032 to 1063
  EXPECT_EQ(tiles[0].first, 701 / 128);
  EXPECT_EQ(tiles[0].last, 9);
  EXPECT_EQ(tiles[1].first, 733 / 128);
  EXPECT_EQ(tiles[1].last, 9);
}

TEST(AttentionPlan, BatchInvariantDecodesAreTilesToo) {
  bool has_decodes = true;
  const auto tiles = plan(batch_of({{100, 1}, {0, 3}}), heads(32, 8, 128), true, &has_decodes);
  EXPECT_FALSE(has_decodes);
  EXPECT_EQ(tiles.size(), 2u);
}

TEST(AttentionPlan, RefusesWhatTheKernelsCannotDo) {
  const KvQuant bf16;
  EXPECT_TRUE(check_attention_support(heads(32, 8, 128), bf16, 64).ok());
  EXPECT_TRUE(check_attention_support(heads(2, 1, 10), bf16, 16).ok());
  for (const AttentionSpec& spec : {heads(8, 8, 256), heads(8, 8, 100), heads(8, 8, 33), heads(256, 8, 64)})
    EXPECT_EQ(check_attention_support(spec, bf16, 64).code(), StatusCode::kUnsupported) << spec.head_dim;
  EXPECT_EQ(check_attention_support(heads(8, 8, 64), bf16, 24).code(), StatusCode::kUnsupported);
}

// Every dimension of every key has a place of its own within the panel.
TEST(KvLayout, OffsetsArePermutations) {
  for (const int32_t head_dim : {64, 128}) {
    for (const int32_t page_size : {16, 32, 64}) {
      const KvLayout half(heads(1, 1, head_dim), {QType::kBF16}, page_size);
      const KvLayout eight(heads(1, 1, head_dim), {QType::kInt8}, page_size);
      std::set<int32_t> halves, keys, values;
      for (int32_t row = 0; row < page_size; ++row) {
        for (int32_t dim = 0; dim < head_dim; ++dim) {
          halves.insert(half.half_offset(row, dim));
          keys.insert(eight.k_code_offset(row, dim));
          values.insert(eight.v_code_offset(row, dim));
        }
      }
      const size_t n = static_cast<size_t>(page_size) * head_dim;
      EXPECT_EQ(halves.size(), n);
      EXPECT_EQ(*halves.rbegin(), half.v_offset - 2);
      EXPECT_EQ(keys.size(), n);
      EXPECT_EQ(*keys.rbegin(), eight.v_offset - 1);
      EXPECT_EQ(values.size(), n);
      EXPECT_EQ(*values.rbegin(), eight.v_offset - 1);
    }
  }
}

}  // namespace
}  // namespace octet::cuda
