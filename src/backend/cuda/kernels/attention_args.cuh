// What the attention kernels know of a batch and its cache.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_limits.h"
#include "backend/cuda/kernels/kv_layout.h"
#include "base/check.h"

namespace octet::cuda {

struct AttentionArgs {
  const __nv_bfloat16* q = nullptr;  // [n_tokens, q_stride]
  int64_t q_stride = 0;
  const uint8_t* pages = nullptr;
  KvLayout layout;
  const int32_t *query_start = nullptr, *context_lens = nullptr, *page_table = nullptr;
  int32_t page_table_stride = 0, n_seqs = 0;
  int32_t n_heads = 0, n_kv_heads = 0, group = 0, head_dim = 0, window = 0;
  float score_scale = 0;                               // of q . k, in powers of two
  bool dynamic_scales = false;                         // 8 bit: one a token and head, in the page
  const float *k_scale = nullptr, *v_scale = nullptr;  // [n_kv_heads] static scales, else null
};

// A cache's type and padded dimension.
template <QType kType, int kDim>
struct CacheKind {};

// f(CacheKind<..>{}) for a cache of that type and padded dimension.
template <class F>
void with_cache(QType type, int32_t padded_dim, const F& f) {
  const auto with_dim = [&]<QType kType>(CacheKind<kType, 0>) {
    if (padded_dim == 64) {
      f(CacheKind<kType, 64>{});
    } else {
      f(CacheKind<kType, 128>{});
    }
  };
  switch (type) {
    case QType::kBF16:
      return with_dim(CacheKind<QType::kBF16, 0>{});
    case QType::kF16:
      return with_dim(CacheKind<QType::kF16, 0>{});
    case QType::kInt8:
      return with_dim(CacheKind<QType::kInt8, 0>{});
    case QType::kFp8:
      return with_dim(CacheKind<QType::kFp8, 0>{});
    default:
      break;
  }
  OCTET_CHECK(false) << "no such cache";
}

// Once, before launches: the shared memory that each kernel of a family needs; the first error.
template <class F>
cudaError_t prepare_all(const F& prepare_one) {
  cudaError_t first = cudaSuccess;
  for (const QType type : {QType::kBF16, QType::kF16, QType::kInt8, QType::kFp8}) {
    for (const int32_t dim : {64, 128}) {
      with_cache(type, dim, [&](auto kind) {
        const cudaError_t error = prepare_one(kind);
        if (first == cudaSuccess) first = error;
      });
    }
  }
  return first;
}

}  // namespace octet::cuda
