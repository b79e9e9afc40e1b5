// What the attention checks share: a batch of sequences on scattered pages, and attention in double over what
// the cache holds.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "backend/cuda/device/bulk_copy.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/check_util.cuh"
#include "backend/cuda/kernels/kv_layout.h"
#include "backend/cuda/kernels/rope.h"

namespace octet::cuda::check {

// Says so where there is no GPU to check on; otherwise kernels may be launched.
inline bool has_device() {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || n == 0) {
    std::printf("skipped: there is no GPU\n");
    return false;
  }
  const Status ready = prepare_attention();
  if (!ready.ok()) std::printf("%s\n", ready.message().c_str()), std::exit(1);
  return true;
}

__global__ void fill_noise(__nv_bfloat16* x, size_t n, uint64_t seed, float scale) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x)
    x[i] = __float2bfloat16_rn(noise(i + seed) * scale);
}

__device__ inline float cache_value(const uint8_t* head, const KvLayout& layout, QType type, bool value,
                                    int32_t row, int32_t dim, const float* static_scale) {
  const uint8_t* codes = head + (value ? layout.v_offset : 0);
  if (type == QType::kBF16)
    return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(codes + layout.half_offset(row, dim)));
  if (type == QType::kF16)
    return __half2float(*reinterpret_cast<const __half*>(codes + layout.half_offset(row, dim)));
  const uint8_t code = codes[value ? layout.v_code_offset(row, dim) : layout.k_code_offset(row, dim)];
  const float scale =
      static_scale != nullptr
          ? *static_scale
          : reinterpret_cast<const float*>(head + layout.scale_offset)[(value ? layout.page_size : 0) + row];
  float number;
  if (type == QType::kInt8) {
    number = static_cast<int8_t>(code);
  } else {
    __nv_fp8_e4m3 e;
    e.__x = code;
    number = static_cast<float>(e);
  }
  return number * scale;
}

struct Truth {
  const __nv_bfloat16* q;
  int64_t q_stride;
  BatchView batch;
  AttentionSpec spec;
  KvLayer kv;
  KvLayout layout;
  double* out;  // [n_tokens, n_heads, head_dim]
};

// A block a (token, head): softmax(q . K^T) . V in double.
__global__ void attend_in_double(Truth t) {
  auto* weights = reinterpret_cast<double*>(dynamic_shared_memory());
  const int32_t token = blockIdx.x, head = blockIdx.y, d = t.spec.head_dim;
  int32_t seq = 0;
  while (t.batch.query_start[seq + 1] <= token) ++seq;
  const int32_t n_new = t.batch.query_start[seq + 1] - t.batch.query_start[seq];
  const int32_t last = t.batch.context_lens[seq] - n_new + token - t.batch.query_start[seq];
  const int32_t first = t.spec.window > 0 ? max(0, last - t.spec.window + 1) : 0;
  const int32_t kv_head = head / (t.spec.n_heads / t.spec.n_kv_heads), page_size = t.kv.page_size;
  const auto head_of = [&](int32_t key) {
    const int32_t page = t.batch.page_table[int64_t{seq} * t.batch.page_table_stride + key / page_size];
    return static_cast<const uint8_t*>(t.kv.data) + page * t.layout.page_bytes +
           kv_head * int64_t{t.layout.head_bytes};
  };
  const __nv_bfloat16* q = t.q + token * t.q_stride + head * d;
  for (int32_t key = first + threadIdx.x; key <= last; key += blockDim.x) {
    const uint8_t* from = head_of(key);
    double dot = 0;
    for (int32_t i = 0; i < d; ++i)
      dot += double{__bfloat162float(q[i])} *
             cache_value(from, t.layout, t.kv.quant.type, false, key % page_size, i,
                         t.kv.k_scale != nullptr ? t.kv.k_scale + kv_head : nullptr);
    weights[key - first] = dot * t.spec.softmax_scale;
  }
  __syncthreads();
  double top = -INFINITY, sum = 0;
  for (int32_t i = 0; i <= last - first; ++i) top = fmax(top, weights[i]);
  for (int32_t i = 0; i <= last - first; ++i) sum += exp(weights[i] - top);
  for (int32_t i = threadIdx.x; i < d; i += blockDim.x) {
    double total = 0;
    for (int32_t key = first; key <= last; ++key)
      total += exp(weights[key - first] - top) *
               cache_value(head_of(key), t.layout, t.kv.quant.type, true, key % page_size, i,
                           t.kv.v_scale != nullptr ? t.kv.v_scale + kv_head : nullptr);
    t.out[(int64_t{token} * t.spec.n_heads + head) * d + i] = last < first ? 0 : total / sum;
  }
}

// A batch in device memory.
struct DeviceBatch {
  Array<int32_t> positions, slots, query_start, context_lens, page_table;
  BatchView view;
  explicit DeviceBatch(const ForwardBatch& b)
      : positions(b.positions),
        slots(b.slots),
        query_start(b.query_start),
        context_lens(b.context_lens),
        page_table(b.page_table) {
    view.n_tokens = b.n_tokens();
    view.n_seqs = b.n_seqs();
    view.page_table_stride = b.page_table_stride;
    view.positions = positions.data();
    view.slots = slots.data();
    view.query_start = query_start.data();
    view.context_lens = context_lens.data();
    view.page_table = page_table.data();
  }
};

// Sequences on pages in scrambled order.
struct Pages {
  int32_t page_size, stride;
  std::vector<int32_t> table;
  Pages(int32_t n_seqs, int32_t max_context, int32_t size)
      : page_size(size),
        stride((max_context + size - 1) / size),
        table(static_cast<size_t>(n_seqs) * stride) {
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(7));
  }
  // n_new tokens after `past` of sequence `seq`; context 0: padding.
  void add(ForwardBatch& b, int32_t seq, int32_t past, int32_t n_new) const {
    if (b.query_start.empty()) b.query_start.push_back(0);
    b.page_table_stride = stride;
    const int32_t* pages = &table[static_cast<size_t>(seq) * stride];
    for (int32_t i = 0; i < n_new; ++i) {
      b.token_ids.push_back(0);
      b.positions.push_back(past + i);
      b.slots.push_back(pages[(past + i) / page_size] * page_size + (past + i) % page_size);
    }
    b.query_start.push_back(b.n_tokens());
    b.context_lens.push_back(past + n_new);
    b.page_table.insert(b.page_table.end(), pages, pages + stride);
  }
  void pad(ForwardBatch& b) const {
    b.token_ids.push_back(0);
    b.positions.push_back(0);
    b.slots.push_back(-1);
    b.query_start.push_back(b.n_tokens());
    b.context_lens.push_back(0);
    b.page_table.insert(b.page_table.end(), stride, 0);
  }
};

struct Prefill {
  bool has_decodes = false;  // before host, whose initializer sets it
  std::vector<PrefillTile> host;
  Array<PrefillTile> tiles;
  bool invariant;
  Prefill(const ForwardBatch& b, const AttentionSpec& spec, bool batch_invariant)
      : host(plan(b, spec, batch_invariant, &has_decodes)), tiles(host), invariant(batch_invariant) {}
  static std::vector<PrefillTile> plan(const ForwardBatch& b, const AttentionSpec& spec, bool invariant,
                                       bool* has_decodes) {
    const OpsLimits limits{.max_tokens = b.n_tokens(), .max_seqs = b.n_seqs(), .attention = spec};
    std::vector<PrefillTile> tiles(static_cast<size_t>(max_prefill_tiles(limits)));
    tiles.resize(static_cast<size_t>(plan_prefill(b, spec, invariant, tiles.data(), has_decodes)));
    return tiles;
  }
  AttentionPlan plan() const {
    return {tiles.data(), static_cast<int32_t>(host.size()), has_decodes, invariant};
  }
};

inline AttentionSpec heads(int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, int32_t window = 0) {
  return {n_heads, n_kv_heads, head_dim, 1 / std::sqrt(static_cast<float>(head_dim)), window};
}

}  // namespace octet::cuda::check
