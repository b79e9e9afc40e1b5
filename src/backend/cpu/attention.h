// The attention op: cuts a step into tiles (attention_tile.h) and hands them out, costliest first.
//
// A tile is a few consecutive tokens of one sequence; an item of work is a tile and a kv head, or one segment
// of its keys where there are too few tiles for the threads (a long context with few queries). Whoever
// finishes the last segment of a tile and head merges them in order; whoever finishes the last head of a tile
// encodes its rows.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backend/cpu/attention_tile.h"
#include "backend/cpu/row_kernels.h"
#include "base/thread_pool.h"

namespace octet::cpu {

class Attention {
 public:
  // Bytes that a constructor with the same arguments takes.
  static size_t scratch_bytes(const OpsLimits& limits, int n_threads);

  Attention(const OpsLimits& limits, Isa isa, int n_threads);
  void run(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
           const QView& out, ThreadPool& pool);

 private:
  struct Tile {
    int32_t seq, first_token, n_tokens;
  };
  struct Item {
    int64_t cost;
    int32_t tile, kv_head;
    int32_t segment;  // -1: all of them, one after the other
    int32_t split;    // where segment >= 0: which of splits_
  };
  // The segments of one tile and head, worked on apart.
  struct Split {
    int32_t first_partial;  // row of partials_ where the first segment's state begins
    int32_t first_segment, n_segments;
  };
  struct Step;  // the arguments of one run

  void plan(const Step& step, int n_threads);
  void plan_tile(const Step& step, int32_t tile, bool may_split);
  AttentionTile describe(const Step& step, const Tile& tile, int32_t kv_head) const;
  AttentionState partial(int32_t row, int32_t width) const;
  void work(const Step& step, const Item& item, const AttentionScratch& scratch);

  Isa isa_;
  const RowKernels& row_kernels_;
  std::vector<Tile> tiles_;
  std::vector<Item> items_;
  std::vector<Split> splits_;
  std::unique_ptr<std::atomic<int32_t>[]> heads_left_;     // by tile
  std::unique_ptr<std::atomic<int32_t>[]> segments_left_;  // by split
  int32_t partial_rows_used_ = 0;
  Buffer memory_;
  std::vector<AttentionScratch> scratch_;  // by thread
  AttentionState partials_;                // [kPartialRows]
  float* out_ = nullptr;  // [max_tokens, n_heads * head_dim], where the consumer does not want f32
};

}  // namespace octet::cpu
