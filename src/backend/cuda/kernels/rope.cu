// Rotation of q and k, quantization of k and v, and their write into the paged cache, one pass.
//
// Bytes: qkv once, q once, the cache's codes once; the table of angles comes from the caches, since all heads
// of a token share its row. Bound by memory. A group of lanes has one head of one token: a lane holds kVec
// dimensions from the first half and those they are rotated with, from the second. A head's norm and its
// absolute maximum are found by shuffles within the group.
#include <cfloat>

#include "backend/cuda/device/mma.h"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/encode.cuh"
#include "backend/cuda/kernels/kv_layout.h"
#include "backend/cuda/kernels/rope.h"
#include "base/check.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 256;

struct RopeArgs {
  const __nv_bfloat16* qkv = nullptr;
  __nv_bfloat16* q = nullptr;
  int64_t qkv_stride = 0, q_stride = 0;
  const int32_t *positions = nullptr, *slots = nullptr;
  const float *cos_sin = nullptr, *q_norm = nullptr, *k_norm = nullptr;
  float norm_eps = 0;
  uint8_t* pages = nullptr;
  KvLayout layout;
  QType cache = QType::kBF16;
  const float *k_scale = nullptr, *v_scale = nullptr;  // [n_kv_heads]; null: dynamic
  int32_t n_tokens = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
};

template <int kVec>
using Values = float[2][kVec];  // of the first and of the second half of a head

// kAligned: whole pieces of kVec values; otherwise rows may begin at any element.
template <int kVec, bool kAligned>
__device__ __forceinline__ void load_bf16(const __nv_bfloat16* from, float (&x)[kVec]) {
  if constexpr (!kAligned) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) x[i] = __bfloat162float(from[i]);
  } else {
    uint32_t r[kVec / 2];
    if constexpr (kVec == 8) {
      *reinterpret_cast<uint4*>(r) = *reinterpret_cast<const uint4*>(from);
    } else {
      *reinterpret_cast<uint2*>(r) = *reinterpret_cast<const uint2*>(from);
    }
#pragma unroll
    for (int i = 0; i < kVec / 2; ++i) x[2 * i] = bf16_low(r[i]), x[2 * i + 1] = bf16_high(r[i]);
  }
}

template <class T, int kVec>
__device__ __forceinline__ void store_half(void* to, const float (&x)[kVec]) {
  if constexpr (kVec == 1) {
    *static_cast<T*>(to) = static_cast<T>(x[0]);
  } else {
    uint32_t r[kVec / 2];
#pragma unroll
    for (int i = 0; i < kVec / 2; ++i) r[i] = pack<T>(x[2 * i], x[2 * i + 1]);
    if constexpr (kVec == 8) {
      *static_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(r);
    } else {
      *static_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(r);
    }
  }
}

template <int kVec>
__device__ __forceinline__ void load_floats(const float* from, float (&x)[kVec]) {
#pragma unroll
  for (int i = 0; i < kVec; i += 4) {
    if constexpr (kVec == 1) {
      x[0] = from[0];
    } else {
      *reinterpret_cast<float4*>(x + i) = *reinterpret_cast<const float4*>(from + i);
    }
  }
}

// kWidth lanes (a power of two) have a head; those past its end hold zeros.
template <int kWidth>
__device__ __forceinline__ float group_sum(float x) {
#pragma unroll
  for (int d = kWidth / 2; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}
template <int kWidth>
__device__ __forceinline__ float group_max(float x) {
#pragma unroll
  for (int d = kWidth / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
  return x;
}

// Codes of one half's values at dimension `dim` of the key (or value) at `row`.
template <int kVec>
__device__ __forceinline__ void write_codes(const RopeArgs& a, uint8_t* codes, bool value, int32_t row,
                                            int32_t dim, const float (&x)[kVec], float inverse) {
  if (a.cache == QType::kBF16) {
    store_half<__nv_bfloat16>(codes + a.layout.half_offset(row, dim), x);
  } else if (a.cache == QType::kF16) {
    store_half<__half>(codes + a.layout.half_offset(row, dim), x);
  } else if constexpr (kVec == 1) {
    codes[value ? a.layout.v_code_offset(row, dim) : a.layout.k_code_offset(row, dim)] =
        static_cast<uint8_t>(a.cache == QType::kInt8 ? int8_code(x[0], inverse) : e4m3_code(x[0] * inverse));
  } else {
    uint32_t r[kVec / 4];
#pragma unroll
    for (int i = 0; i < kVec / 4; ++i) r[i] = codes_of(a.cache, x + 4 * i, inverse);
    if (kVec == 8 && !value) {
      *reinterpret_cast<uint2*>(codes + a.layout.k_code_offset(row, dim)) = {r[0], r[kVec / 4 - 1]};
      return;
    }
#pragma unroll
    for (int i = 0; i < kVec / 4; ++i) {
      const int32_t at = value ? a.layout.v_code_offset(row, dim + 4 * i) : a.layout.k_code_offset(row, dim);
      *reinterpret_cast<uint32_t*>(codes + at) = r[i];
    }
  }
}

// K or V of one head into its page.
template <int kVec, int kWidth>
__device__ __forceinline__ void write_cache(const RopeArgs& a, int32_t slot, int32_t kv_head, bool value,
                                            int32_t lane, bool active, const Values<kVec>& x) {
  const bool eight_bit = a.layout.code_bytes == 1;
  float inverse = 1, scale = 1;
  if (eight_bit) {
    float absmax = 0;
#pragma unroll
    for (int i = 0; i < kVec; ++i) absmax = fmaxf(absmax, fmaxf(fabsf(x[0][i]), fabsf(x[1][i])));
    absmax = group_max<kWidth>(absmax);  // by all lanes, because groups of a warp may differ
    scale = a.k_scale == nullptr ? dynamic_scale(a.cache, absmax) : (value ? a.v_scale : a.k_scale)[kv_head];
    inverse = inverse_scale(scale);
  }
  if (slot < 0 || !active) return;
  const int32_t page_size = a.layout.page_size, row = slot % page_size, half = a.head_dim / 2;
  uint8_t* head = a.pages + slot / page_size * a.layout.page_bytes + int64_t{kv_head} * a.layout.head_bytes;
  uint8_t* codes = head + (value ? a.layout.v_offset : 0);
  if (lane * kVec < half) {
    write_codes<kVec>(a, codes, value, row, lane * kVec, x[0], inverse);
    write_codes<kVec>(a, codes, value, row, half + lane * kVec, x[1], inverse);
  }
  if (eight_bit && lane == 0)
    reinterpret_cast<float*>(head + a.layout.scale_offset)[(value ? page_size : 0) + row] = scale;
  // K's padding meets zeros of q, which must not be multiplied with NaN.
  if (!value && a.head_dim < a.layout.padded_dim) {
    const float zero[1] = {0};
    for (int32_t dim = a.head_dim + lane; dim < a.layout.padded_dim; dim += kWidth)
      write_codes<1>(a, codes, false, row, dim, zero, 1.0f);
  }
}

template <int kVec, int kWidth, bool kAligned>
__global__ void __launch_bounds__(kThreads) rope_kernel(const __grid_constant__ RopeArgs a) {
  const int32_t all_heads = a.n_heads + 2 * a.n_kv_heads, half = a.head_dim / 2;
  const int64_t unit = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWidth;
  const int32_t lane = threadIdx.x % kWidth;
  const int32_t token = static_cast<int32_t>(unit / all_heads), head = static_cast<int32_t>(unit % all_heads);
  let_next_kernel_start();
  wait_for_previous_kernel();
  const bool active = token < a.n_tokens, loaded = active && lane * kVec < half;
  Values<kVec> x = {};
  if (loaded) {
    const __nv_bfloat16* from = a.qkv + token * a.qkv_stride + int64_t{head} * a.head_dim + lane * kVec;
    load_bf16<kVec, kAligned>(from, x[0]);
    load_bf16<kVec, kAligned>(from + half, x[1]);
  }
  const int32_t slot = active ? a.slots[token] : -1;
  const bool is_q = head < a.n_heads, is_v = head >= a.n_heads + a.n_kv_heads;
  const float* gamma = is_q ? a.q_norm : a.k_norm;
  if (a.q_norm != nullptr || a.k_norm != nullptr) {  // all lanes, because groups of a warp may differ
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVec; ++i) squares += x[0][i] * x[0][i] + x[1][i] * x[1][i];
    const float inverse = rsqrtf(group_sum<kWidth>(squares) / static_cast<float>(a.head_dim) + a.norm_eps);
    if (loaded && !is_v && gamma != nullptr) {
      float w[2][kVec];
      load_floats<kVec>(gamma + lane * kVec, w[0]);
      load_floats<kVec>(gamma + half + lane * kVec, w[1]);
#pragma unroll
      for (int i = 0; i < kVec; ++i) x[0][i] *= inverse * w[0][i], x[1][i] *= inverse * w[1][i];
    }
  }
  if (loaded && !is_v) {
    const float* angles = a.cos_sin + int64_t{a.positions[token]} * a.head_dim + lane * kVec;
    float cosine[kVec], sine[kVec];
    load_floats<kVec>(angles, cosine);
    load_floats<kVec>(angles + half, sine);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float first = x[0][i], second = x[1][i];
      x[0][i] = first * cosine[i] - second * sine[i];
      x[1][i] = second * cosine[i] + first * sine[i];
    }
  }
  if (loaded && is_q) {
    __nv_bfloat16* to = a.q + token * a.q_stride + int64_t{head} * a.head_dim + lane * kVec;
    if constexpr (kAligned) {
      store_half<__nv_bfloat16, kVec>(to, x[0]);
      store_half<__nv_bfloat16, kVec>(to + half, x[1]);
    } else {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        to[i] = __float2bfloat16_rn(x[0][i]);
        to[half + i] = __float2bfloat16_rn(x[1][i]);
      }
    }
  }
  const int32_t kv_head = (head - a.n_heads) % a.n_kv_heads;
  write_cache<kVec, kWidth>(a, slot, max(kv_head, 0), is_v, lane, active && !is_q, x);
}

template <int kVec, int kWidth, bool kAligned>
void launch(const RopeArgs& a, cudaStream_t stream) {
  const int64_t units = int64_t{a.n_tokens} * (a.n_heads + 2 * a.n_kv_heads);
  const auto blocks = static_cast<uint32_t>((units * kWidth + kThreads - 1) / kThreads);
  launch_dependent(rope_kernel<kVec, kWidth, kAligned>, blocks, kThreads, 0, stream, a);
}

}  // namespace

void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                   const KvLayer& kv, const View& q, cudaStream_t stream) {
  OCTET_CHECK(qkv.type == DType::kBF16 && q.type == DType::kBF16);
  if (batch.n_tokens == 0) return;
  RopeArgs a;
  a.qkv = static_cast<const __nv_bfloat16*>(qkv.data);
  a.q = static_cast<__nv_bfloat16*>(q.data);
  a.qkv_stride = qkv.stride;
  a.q_stride = q.stride;
  a.positions = batch.positions;
  a.slots = batch.slots;
  a.cos_sin = rope.cos_sin;
  a.q_norm = rope.q_norm;
  a.k_norm = rope.k_norm;
  a.norm_eps = rope.norm_eps;
  a.pages = static_cast<uint8_t*>(kv.data);
  a.layout = KvLayout(spec, kv.quant, kv.page_size);
  a.cache = kv.quant.type;
  if (kv.quant.quantized() && !kv.quant.dynamic) a.k_scale = kv.k_scale, a.v_scale = kv.v_scale;
  a.n_tokens = batch.n_tokens;
  a.n_heads = spec.n_heads;
  a.n_kv_heads = spec.n_kv_heads;
  a.head_dim = spec.head_dim;
  // Whole 16-byte pieces where the head and the rows allow them.
  const int64_t half = spec.head_dim / 2;
  const bool aligned =
      (qkv.stride | q.stride) % 8 == 0 &&
      (reinterpret_cast<uintptr_t>(qkv.data) | reinterpret_cast<uintptr_t>(q.data)) % 16 == 0;
  if (half % 8 == 0 && aligned) {
    const int64_t lanes = half / 8;
    if (lanes == 1) return launch<8, 1, true>(a, stream);
    if (lanes == 2) return launch<8, 2, true>(a, stream);
    if (lanes <= 4) return launch<8, 4, true>(a, stream);
    return launch<8, 8, true>(a, stream);
  }
  if (half % 4 == 0) return launch<4, 16, false>(a, stream);
  OCTET_CHECK(half <= 32);
  launch<1, 32, false>(a, stream);
}

}  // namespace octet::cuda
