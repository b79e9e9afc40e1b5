// Prefill attention: chunks of new tokens over their sequences' paged caches, causal.
//
// Maths: FlashAttention's: for tiles of 128 keys, S = Q K^T, running origins m (the row maxima, or a little
// below) and sums l, O = O exp2(m - m') + exp2(S - m') V. Both products are WGMMA of fp16 (bf16 for a bf16
// cache) into float; weights are rounded to the operand's type. The query heads of a kv head share tiles: a
// row is one head of one token, so short chunks fill tiles too and each key is read once for the group. Bound
// by the tensor cores: 4 * head_dim operations a row and key. One block an SM: a warpgroup loads, or two
// (attention_prefill_load.cuh), two compute 64 rows each; the product of the next tile's scores runs beside
// the softmax of the last. Blocks walk a list of items, longest first, each round in the opposite direction.
//
// Tiles of keys are anchored at position 0 and a row's masked keys change nothing, so that a row's bits
// depend on the row and its sequence alone, not on the chunk or the batch.
#include <algorithm>

#include "backend/cuda/device/mma.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/device/wgmma_16bit.h"
#include "backend/cuda/kernels/attention_prefill.cuh"
#include "backend/cuda/kernels/attention_prefill_load.cuh"
#include "backend/cuda/kernels/attention_prefill_softmax.cuh"

namespace octet::cuda {
namespace {

// Each and the next: one a warpgroup.
constexpr int kGroupBarrier = 2, kTurnBarrier = 4;  // the latter: whose turn it is to issue products

// Which of the two warpgroups that compute.
template <class S>
__device__ __forceinline__ int compute_group() {
  return static_cast<int>(threadIdx.x - S::kLoadThreads) / 128;
}

template <class Operand>
__device__ __forceinline__ void pack_weights(const float (&s)[64], uint32_t (&p)[32]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) p[i] = pack<Operand>(s[2 * i], s[2 * i + 1]);
}

template <class S, int kDim, class Operand>
__device__ __forceinline__ void issue_scores(float (&s)[64], uint32_t query, uint32_t key) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const uint32_t at = k / 4 * S::kPanel + k % 4 * 32;
    product_rows<Operand>(s, row_operand(query + at), row_operand(key + at), k > 0);
  }
  products_commit();
}

template <class S, class Operand, int kOut>
__device__ __forceinline__ void issue_values(float (&out)[kOut], const uint32_t (&p)[32], uint32_t value,
                                             bool add) {
  const uint64_t operand = column_operand(value, S::kPanel);
#pragma unroll
  for (int k = 0; k < kPrefillKeys / 16; ++k)
    product_columns<Operand>(out, p + 4 * k, advance(operand, k * 2048), add || k > 0);
  products_commit();
}

// Stage of the ring and its phase.
struct Place {
  int slot;
  uint32_t phase;
};
template <class S>
__device__ __forceinline__ Place place(uint32_t count) {
  return {static_cast<int>(count % S::kStages), count / S::kStages & 1};
}

__device__ __forceinline__ void await_turn(int group) {
  named_barrier_sync(group == 0 ? kTurnBarrier : kTurnBarrier + 1, 256);
}
__device__ __forceinline__ void give_turn(int group) {
  named_barrier_arrive(group == 0 ? kTurnBarrier + 1 : kTurnBarrier, 256);
}

// All tiles of one item; `count` tiles went through the ring before.
template <class S, int kDim>
__device__ __forceinline__ void attend(const PrefillArgs& a, const S& shared, const PrefillItem& item,
                                       uint32_t query, uint32_t count, Rows<S, kDim>& rows) {
  using Operand = typename S::Operand;
  const int lane = threadIdx.x % 32;
  const auto release = [&](uint32_t barrier) {
    __syncwarp();
    if (lane == 0) barrier_arrive(barrier);
  };
  // Tiles before this one need no mask: their last key is seen by the first token, and there is no window.
  const int32_t whole_end = a.window > 0 ? 0 : (item.position + 1) / kPrefillKeys;
  // While one warpgroup's softmax runs, the other's products do. The second one lets the first begin.
  const int group = compute_group<S>();
  const bool take_turns = item.n_rows > 64;
  if (take_turns && group == 1 && item.first + 1 < item.last) give_turn(group);
  const auto wait_keys = [&](uint32_t n) {
    const Place at = place<S>(n);
    barrier_wait(shared.key_full(at.slot), at.phase);
  };
  uint32_t weights[32];
  {
    float s[64], shrink[2];
    const Place at = place<S>(count);
    wait_keys(count);
    products_fence();
    issue_scores<S, kDim, Operand>(s, query, shared_address(shared.key(at.slot)));
    products_wait<0>();
    pin(s);
    release(shared.key_empty(at.slot));
    rows.template softmax<true>(s, item.first * kPrefillKeys, a.window, shrink);
    pack_weights<Operand>(s, weights);
    if (item.first + 1 < item.last) wait_keys(count + 1);
  }
  const auto step = [&]<bool kMasked>(int32_t tile) {
    float s[64], shrink[2];
    const Place before = place<S>(count), at = place<S>(count + 1);
    barrier_wait(shared.value_full(before.slot), before.phase);
    if (take_turns) await_turn(group);
    products_fence();
    issue_scores<S, kDim, Operand>(s, query, shared_address(shared.key(at.slot)));
    issue_values<S, Operand>(rows.out, weights, shared_address(shared.value(before.slot)),
                             tile > item.first + 1);
    if (take_turns && (group == 0 || tile + 1 < item.last)) give_turn(group);
    products_wait<1>();
    pin(s);
    release(shared.key_empty(at.slot));
    rows.template softmax<kMasked>(s, tile * kPrefillKeys, a.window, shrink);
    pin(s);
    // Here, between the softmax and the wait for the second product, so that the compiler, which may move the
    // latter up within straight code, lets the two run side by side.
    if (tile + 1 < item.last) wait_keys(count + 2);
    products_wait<0>();
    pin(rows.out);
    release(shared.value_empty(before.slot));
    rows.shrink_out(shrink);
    pack_weights<Operand>(s, weights);
    ++count;
  };
  int32_t tile = item.first + 1;
  for (; tile < whole_end; ++tile) step.template operator()<false>(tile);
  for (; tile < item.last; ++tile) step.template operator()<true>(tile);
  const Place at = place<S>(count);
  barrier_wait(shared.value_full(at.slot), at.phase);
  products_fence();
  issue_values<S, Operand>(rows.out, weights, shared_address(shared.value(at.slot)),
                           item.last > item.first + 1);
  products_wait<0>();
  pin(rows.out);
  release(shared.value_empty(at.slot));
}

// A warpgroup without rows lets the tiles pass.
template <class S>
__device__ void skip(const S& shared, int32_t n, uint32_t count) {
  for (const uint32_t end = count + n; count < end; ++count) {
    const Place at = place<S>(count);
    barrier_wait(shared.key_full(at.slot), at.phase);
    barrier_wait(shared.value_full(at.slot), at.phase);
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      barrier_arrive(shared.key_empty(at.slot));
      barrier_arrive(shared.value_empty(at.slot));
    }
  }
}

// O / l, rounded to bf16, to its place: in the consumer's form, or to wait for the token's scale. Each warp
// takes its 16 rows through the queries' shared memory, so that it writes whole pieces of rows.
template <class S, int kDim>
__device__ void write_rows(const PrefillArgs& a, const PrefillItem& item, uint8_t* shared, int first_row,
                           Rows<S, kDim>& rows) {
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  named_barrier_sync(kGroupBarrier + compute_group<S>(), 128);  // no warp of the group still reads queries
  const float v_scale = a.v_scale != nullptr ? a.v_scale[item.kv_head] : 1.0f;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = rows.sum[r];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    const float inverse = sum > 0 ? v_scale / sum : 0.0f;  // 0: the padding of a captured step
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const float* d = rows.out + 4 * j + 2 * r;
      *reinterpret_cast<uint32_t*>(shared + swizzled(first_row + g + 8 * r, 8 * j) + 4 * c) =
          pack<__nv_bfloat16>(d[0] * inverse, d[1] * inverse);
    }
  }
  __syncwarp();
  const RowEncoder& to = a.out;
  const float inverse = to.row_inverse(0, 0, false);
#pragma unroll 1
  for (int i = lane; i < 16 * (kDim / 8); i += 32) {
    const int32_t row = first_row + i / (kDim / 8), dim = i % (kDim / 8) * 8;
    if (row >= item.n_rows) continue;
    const uint4 v = *reinterpret_cast<const uint4*>(shared + swizzled(row, dim));
    const int32_t in_item = a.token_of(row), head = item.kv_head * a.group + row - in_item * a.group;
    const int32_t token = item.token + in_item, col = head * a.head_dim + dim;
    float x[8] = {bf16_low(v.x), bf16_high(v.x), bf16_low(v.y), bf16_high(v.y),
                  bf16_low(v.z), bf16_high(v.z), bf16_low(v.w), bf16_high(v.w)};
    if (a.head_dim % 8 == 0) {
      if (dim < a.head_dim) to.put8(token, col, x, inverse);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        if (dim + j < a.head_dim) to.put1(token, col + j, x[j], inverse);
      }
    }
  }
  __syncwarp();
}

template <class S, int kDim>
__device__ void prefill_compute(const PrefillArgs& a, const S& shared) {
  const int group = compute_group<S>(), warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  uint32_t count = 0;
  PrefillWalk walk;
  PrefillItem item;
  for (int n_items = 0; walk.next(a, item); ++n_items) {
    const int buffer = n_items % 2, first_row = group * 64 + warp * 16;
    barrier_wait(shared.query_full(buffer), n_items / 2 & 1);
    if (group * 64 < item.n_rows) {
      Rows<S, kDim> rows;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t row = min(first_row + lane / 4 + 8 * r, item.n_rows - 1);
        rows.position[r] = item.position + a.token_of(row);
        rows.scale[r] = shared.row_scale(buffer)[first_row + lane / 4 + 8 * r];
        rows.largest[r] = rows.origin[r] = -INFINITY;
        rows.sum[r] = 0;
      }
      attend<S, kDim>(a, shared, item, shared_address(shared.query(buffer)) + group * 64 * 128, count, rows);
      write_rows<S, kDim>(a, item, shared.query(buffer), first_row, rows);
    } else {
      skip(shared, item.last - item.first, count);
    }
    if (lane == 0) barrier_arrive(shared.query_empty(buffer));
    count += item.last - item.first;
  }
}

template <QType kType, int kDim>
__global__ void __launch_bounds__(PrefillShared<kType, kDim>::kThreads, 1)
    prefill_kernel(const __grid_constant__ PrefillArgs a) {
  using S = PrefillShared<kType, kDim>;
  const S shared{dynamic_shared_memory()};
  if (threadIdx.x == 0) shared.init_barriers();
  __syncthreads();
  let_next_kernel_start();
  wait_for_previous_kernel();
  constexpr int kLoadRegisters = S::kEightBit ? 48 : 56, kComputeRegisters = S::kEightBit ? 208 : 224;
  static_assert(S::kLoadThreads * kLoadRegisters + 256 * kComputeRegisters <=
                S::kThreads * (65536 / S::kThreads / 8 * 8));  // what the block has
  if (threadIdx.x < S::kLoadThreads) {
    set_register_limit_down<kLoadRegisters>();
    prefill_load(a, shared);
  } else {
    set_register_limit_up<kComputeRegisters>();
    prefill_compute<S, kDim>(a, shared);
  }
}

}  // namespace

cudaError_t prepare_prefill() {
  return prepare_all([]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    return cudaFuncSetAttribute(prefill_kernel<kType, kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                PrefillShared<kType, kDim>::kBytes);
  });
}

void launch_prefill(const PrefillArgs& args, QType cache, cudaStream_t stream) {
  int device = 0, n_sms = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, device);
  const int32_t blocks = std::min(args.n_tiles * args.n_kv_heads, n_sms);
  with_cache(cache, args.layout.padded_dim, [&]<QType kType, int kDim>(CacheKind<kType, kDim>) {
    using S = PrefillShared<kType, kDim>;
    static_assert(S::kBytes <= 227 * 1024);
    launch_dependent(prefill_kernel<kType, kDim>, blocks, S::kThreads, S::kBytes, stream, args);
  });
}

}  // namespace octet::cuda
