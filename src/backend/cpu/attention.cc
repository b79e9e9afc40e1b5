#include "backend/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "backend/cpu/encode.h"

namespace octet::cpu {
namespace {

constexpr int32_t kPartialRows = 8192;
constexpr int64_t kInlineCost = 1000;  // rows x keys of work that are done before other threads have woken up

int32_t group_of(const AttentionSpec& spec) {
  return spec.n_heads / spec.n_kv_heads;
}
int32_t tile_tokens(const AttentionSpec& spec) {
  return std::max(1, kTileRows / group_of(spec));
}
int32_t tile_rows(const AttentionSpec& spec) {
  return tile_tokens(spec) * group_of(spec);
}
size_t max_tiles(const OpsLimits& limits) {
  return static_cast<size_t>(limits.max_seqs + limits.max_tokens / tile_tokens(limits.attention));
}
size_t max_items(const OpsLimits& limits) {
  return max_tiles(limits) * static_cast<size_t>(limits.attention.n_kv_heads) + kPartialRows;
}
size_t padded(const AttentionSpec& spec) {
  return static_cast<size_t>(spec.head_dim + 15) / 16 * 16;
}
size_t out_bytes(const OpsLimits& limits) {
  return static_cast<size_t>(limits.max_tokens) * limits.attention.n_heads * limits.attention.head_dim *
         sizeof(float);
}
size_t buffer_bytes(const OpsLimits& limits, int n_threads) {
  const size_t partials = kPartialRows * (padded(limits.attention) + 2) * sizeof(float);
  const size_t scratch = AttentionScratch().carve(nullptr, tile_rows(limits.attention), limits.attention);
  return partials + static_cast<size_t>(n_threads) * scratch + out_bytes(limits);
}

}  // namespace

struct Attention::Step {
  const View& q;
  const BatchView& batch;
  const AttentionSpec& spec;
  const KvLayer& kv;
  const KvLayout& layout;
  const AttentionKernels& kernels;
  const QView& out;
};

size_t Attention::scratch_bytes(const OpsLimits& limits, int n_threads) {
  return buffer_bytes(limits, n_threads) + max_tiles(limits) * (sizeof(Tile) + sizeof(int32_t)) +
         max_items(limits) * sizeof(Item) + kPartialRows * (sizeof(Split) + sizeof(int32_t));
}

Attention::Attention(const OpsLimits& limits, Isa isa, int n_threads)
    : isa_(isa),
      row_kernels_(row_kernels(isa)),
      heads_left_(std::make_unique<std::atomic<int32_t>[]>(max_tiles(limits))),
      segments_left_(std::make_unique<std::atomic<int32_t>[]>(kPartialRows)),
      scratch_(static_cast<size_t>(n_threads)) {
  tiles_.reserve(max_tiles(limits));
  items_.reserve(max_items(limits));
  splits_.reserve(kPartialRows);
  constexpr std::align_val_t kAlign{64};
  const size_t bytes = buffer_bytes(limits, n_threads);
  memory_ = Buffer(::operator new(bytes, kAlign), bytes, [](void* p) { ::operator delete(p, kAlign); });
  auto* memory = memory_.as<uint8_t>();
  for (AttentionScratch& scratch : scratch_) {
    memory += scratch.carve(memory, tile_rows(limits.attention), limits.attention);
  }
  partials_.o = reinterpret_cast<float*>(memory);
  partials_.m = partials_.o + kPartialRows * padded(limits.attention);
  partials_.l = partials_.m + kPartialRows;
  out_ = partials_.l + kPartialRows;
}

AttentionTile Attention::describe(const Step& step, const Tile& tile, int32_t kv_head) const {
  const int32_t group = group_of(step.spec);
  AttentionTile out;
  out.q = step.q.row<const float>(tile.first_token) + kv_head * group * step.spec.head_dim;
  out.q_stride = step.q.stride;
  out.n_tokens = tile.n_tokens;
  out.group = group;
  out.first_position = step.batch.positions[tile.first_token];
  out.window = step.spec.window;
  out.softmax_scale = step.spec.softmax_scale;
  out.pool =
      static_cast<const uint8_t*>(step.kv.data) + static_cast<size_t>(kv_head) * step.layout.head_bytes;
  out.pages = step.batch.page_table + int64_t{tile.seq} * step.batch.page_table_stride;
  return out;
}

void Attention::plan_tile(const Step& step, int32_t index, bool may_split) {
  const Tile& tile = tiles_[index];
  const AttentionTile shape = describe(step, tile, 0);
  const int32_t n_segments = shape.last_segment() - shape.first_segment() + 1;
  const int64_t cost = int64_t{shape.rows()} * (shape.last_position() - shape.first_key() + 1);
  heads_left_[index].store(step.spec.n_kv_heads, std::memory_order_relaxed);
  for (int32_t head = 0; head < step.spec.n_kv_heads; ++head) {
    if (!may_split || n_segments == 1 || partial_rows_used_ + n_segments * shape.rows() > kPartialRows) {
      items_.push_back({cost, index, head, -1, -1});
      continue;
    }
    const auto split = static_cast<int32_t>(splits_.size());
    splits_.push_back({partial_rows_used_, shape.first_segment(), n_segments});
    segments_left_[split].store(n_segments, std::memory_order_relaxed);
    partial_rows_used_ += n_segments * shape.rows();
    for (int32_t i = 0; i < n_segments; ++i) {
      items_.push_back({cost / n_segments, index, head, shape.first_segment() + i, split});
    }
  }
}

void Attention::plan(const Step& step, int n_threads) {
  tiles_.clear();
  items_.clear();
  splits_.clear();
  partial_rows_used_ = 0;
  const int32_t most = tile_tokens(step.spec);
  for (int32_t s = 0; s < step.batch.n_seqs; ++s) {
    const int32_t end = step.batch.query_start[s + 1];
    for (int32_t t = step.batch.query_start[s]; t < end; t += most)
      tiles_.push_back({s, t, std::min(most, end - t)});
  }
  const auto n_tiles = static_cast<int32_t>(tiles_.size());
  const bool may_split = n_threads > 1 && n_tiles * step.spec.n_kv_heads < 4 * n_threads;
  for (int32_t tile = 0; tile < n_tiles; ++tile) plan_tile(step, tile, may_split);
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) { return a.cost > b.cost; });
}

AttentionState Attention::partial(int32_t row, int32_t width) const {
  return {partials_.o + int64_t{row} * width, partials_.m + row, partials_.l + row};
}

void Attention::work(const Step& step, const Item& item, const AttentionScratch& scratch) {
  const Tile& tile = tiles_[item.tile];
  const AttentionTile shape = describe(step, tile, item.kv_head);
  const int32_t rows = shape.rows(), width = step.layout.head_dim_padded;
  step.kernels.load_queries(shape, step.layout, scratch);
  if (item.segment >= 0) {
    const Split& split = splits_[item.split];
    const auto state = [&](int32_t i) { return partial(split.first_partial + i * rows, width); };
    step.kernels.attend(shape, step.layout, scratch, item.segment, state(item.segment - split.first_segment));
    if (segments_left_[item.split].fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    step.kernels.clear(rows, width, scratch.total);
    for (int32_t i = 0; i < split.n_segments; ++i) step.kernels.merge(rows, width, state(i), scratch.total);
  } else {
    step.kernels.clear(rows, width, scratch.total);
    for (int32_t segment = shape.first_segment(); segment <= shape.last_segment(); ++segment) {
      step.kernels.attend(shape, step.layout, scratch, segment, scratch.segment);
      step.kernels.merge(rows, width, scratch.segment, scratch.total);
    }
  }
  const bool direct = step.out.args.type == QType::kF32;
  const int64_t stride = direct ? step.out.stride : step.out.cols;
  float* out = (direct ? static_cast<float*>(step.out.data) : out_) + tile.first_token * stride;
  step.kernels.finish(shape, step.layout, scratch.total,
                      out + int64_t{item.kv_head} * shape.group * step.spec.head_dim, stride);
  if (heads_left_[item.tile].fetch_sub(1, std::memory_order_acq_rel) > 1 || direct) return;
  for (int32_t t = 0; t < tile.n_tokens; ++t) {
    encode_row(row_kernels_, out + t * stride, step.out, tile.first_token + t, out + t * stride);
  }
}

void Attention::run(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                    const QView& out, ThreadPool& pool) {
  const KvLayout layout(spec, kv.quant, kv.page_size);
  const Step step{q, batch, spec, kv, layout, attention_kernels(isa_, kv.quant.type), out};
  plan(step, pool.size());
  int64_t cost = 0;
  for (const Item& item : items_) cost += item.cost;
  if (cost < kInlineCost || pool.size() == 1 || items_.size() == 1) {
    for (const Item& item : items_) work(step, item, scratch_[0]);
    return;
  }
  std::atomic<size_t> next{0};
  pool.run([&](int thread) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < items_.size();)
      work(step, items_[i], scratch_[thread]);
  });
}

}  // namespace octet::cpu
