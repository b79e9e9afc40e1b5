#include <algorithm>
#include <bit>
#include <cstring>

#include "backend/cuda/staging.h"

namespace octet::cuda {
namespace {

constexpr int32_t kSmallestPage = 16;  // tokens; page tables are sized for it
constexpr int32_t kSmallestStride = 16;

size_t array_bytes(int64_t n) {
  return (static_cast<size_t>(n) * sizeof(int32_t) + 15) / 16 * 16;
}

// Strides of recorded steps are powers of two, so that a growing context is recorded anew a few times only.
int32_t rounded_stride(int32_t stride) {
  return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(std::max(stride, kSmallestStride))));
}

class Packer {
 public:
  Packer(std::byte* host, std::byte* device) : host_(host), device_(device) {}
  // The values, then `n` - values.size() times `padding`.
  const int32_t* add(const std::vector<int32_t>& values, int64_t n, int32_t padding) {
    int32_t* to = host_array();
    std::copy(values.begin(), values.end(), to);
    std::fill(to + values.size(), to + n, padding);
    return advance(n);
  }
  int32_t* host_array() const { return reinterpret_cast<int32_t*>(host_ + offset_); }
  const int32_t* advance(int64_t n) {
    const auto* result = reinterpret_cast<const int32_t*>(device_ + offset_);
    offset_ += array_bytes(n);
    return result;
  }

 private:
  std::byte *host_, *device_;
  size_t offset_ = 0;
};

}  // namespace

int32_t decode_bucket(int32_t n) {
  if (n <= 8) return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(n)));
  const int32_t step = n <= 128 ? 8 : n <= 256 ? 16 : 32;
  return (n + step - 1) / step * step;
}

StagedSizes staged_sizes(const ForwardBatch& batch, const OpsLimits& limits) {
  StagedSizes sizes{batch.n_tokens(), batch.n_seqs(), batch.n_logits(), batch.page_table_stride, false};
  const int32_t n = sizes.n_seqs;
  if (n == 0 || sizes.n_tokens != n || sizes.n_logits != n) return sizes;
  for (int32_t i = 0; i < n; ++i) {
    if (batch.query_start[i] != i || batch.logit_rows[i] != i) return sizes;
  }
  const int32_t bucket = std::min({decode_bucket(n), limits.max_tokens, limits.max_seqs, limits.max_logits});
  if (bucket < n) return sizes;
  sizes.decodes = true;
  sizes.n_tokens = sizes.n_seqs = sizes.n_logits = bucket;
  sizes.page_table_stride = rounded_stride(batch.page_table_stride);
  return sizes;
}

size_t staged_bytes(const StagedSizes& s) {
  return 3 * array_bytes(s.n_tokens) + array_bytes(s.n_seqs + 1) + array_bytes(s.n_seqs) +
         array_bytes(s.n_logits) + array_bytes(int64_t{s.n_seqs} * s.page_table_stride);
}

size_t max_staged_bytes(const OpsLimits& limits) {
  const int32_t pages = (limits.max_context + kSmallestPage - 1) / kSmallestPage;
  return staged_bytes({limits.max_tokens, limits.max_seqs, std::max(limits.max_logits, limits.max_tokens),
                       rounded_stride(pages), false});
}

BatchView pack_batch(const ForwardBatch& batch, const StagedSizes& s, std::byte* host, std::byte* device) {
  Packer packer(host, device);
  BatchView view{s.n_tokens, s.n_seqs, s.n_logits, s.page_table_stride};
  view.token_ids = packer.add(batch.token_ids, s.n_tokens, 0);
  view.positions = packer.add(batch.positions, s.n_tokens, 0);
  view.slots = packer.add(batch.slots, s.n_tokens, -1);
  int32_t* query_start = packer.host_array();
  view.query_start = packer.add(batch.query_start, s.n_seqs + 1, 0);
  for (auto i = static_cast<int32_t>(batch.query_start.size()); i <= s.n_seqs; ++i) query_start[i] = i;
  view.context_lens = packer.add(batch.context_lens, s.n_seqs, 0);
  int32_t* logit_rows = packer.host_array();
  view.logit_rows = packer.add(batch.logit_rows, s.n_logits, 0);
  for (int32_t i = batch.n_logits(); i < s.n_logits; ++i) logit_rows[i] = i;

  int32_t* table = packer.host_array();
  const int32_t stride = batch.page_table_stride;
  for (int32_t seq = 0; seq < s.n_seqs; ++seq, table += s.page_table_stride) {
    const int32_t n = seq < batch.n_seqs() ? stride : 0;
    std::copy_n(batch.page_table.data() + int64_t{seq} * stride, n, table);
    std::fill(table + n, table + s.page_table_stride, 0);
  }
  view.page_table = packer.advance(int64_t{s.n_seqs} * s.page_table_stride);
  return view;
}

}  // namespace octet::cuda
