// out = quant(f(input)) for f = RMSNorm, SiLU times a factor, or nothing.
//
// A block takes a row and holds its values as floats in registers, 8 neighbours a chunk: one read of the
// input, one reduction where f or the scale needs one, one write of the result; 16 bytes a thread and access.
// Bound by memory: per value 2 bytes read (4 for SiLU's two inputs), 1 or 2 written. With few rows what
// counts is the latency of one: more threads take fewer values each, and a wide row is shared by the blocks
// of a cluster. Rows that are not 16-byte aligned or too wide for the registers go through a second kernel,
// which reads its input once more for every pass over it.
#include <algorithm>

#include <cuda_bf16.h>

#include "backend/cuda/device/cluster_max.cuh"
#include "backend/cuda/device/pdl.h"
#include "backend/cuda/device/reduce.cuh"
#include "backend/cuda/kernels/encode.cuh"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/silu.cuh"

namespace octet::cuda {
namespace {

constexpr int kChunk = 8;
constexpr int kMostThreads = 512, kMostChunks = 8;  // of a block, of a thread
constexpr int kFewRows = 64;                        // fewer leave multiprocessors idle
constexpr int kWideRows = 512;                      // of up to these, a thread takes one chunk where it can

__device__ __forceinline__ void load8(const __nv_bfloat16* p, float (&v)[kChunk]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(p);
  const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = __uint_as_float(words[i] << 16);
    v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ void load8(const float* p, float (&v)[kChunk]) {
  const float4 a = reinterpret_cast<const float4*>(p)[0], b = reinterpret_cast<const float4*>(p)[1];
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ __forceinline__ float to_float(float v) {
  return v;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

// What f is made of: `chunk` gives f's input at 8 columns, `value` at one. Where kSums, f is its input times
// the row's `factor`, made of its sum of squares, times the column's weight.
template <class T>
struct Plain {
  static constexpr bool kSums = false;
  const T* x;
  int64_t stride;
  __device__ void chunk(int64_t row, int64_t col, float (&v)[kChunk]) const {
    load8(x + row * stride + col, v);
  }
  __device__ float value(int64_t row, int64_t col) const { return to_float(x[row * stride + col]); }
};

struct Silu {
  static constexpr bool kSums = false;
  const __nv_bfloat16* gate_up;
  int64_t stride, cols;
  __device__ void chunk(int64_t row, int64_t col, float (&v)[kChunk]) const {
    float up[kChunk];
    load8(gate_up + row * stride + col, v);
    load8(gate_up + row * stride + cols + col, up);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) v[i] = silu_mul(v[i], up[i]);
  }
  __device__ float value(int64_t row, int64_t col) const {
    const __nv_bfloat16* gate = gate_up + row * stride + col;
    return silu_mul(to_float(gate[0]), to_float(gate[cols]));
  }
};

struct Norm {
  static constexpr bool kSums = true;
  const __nv_bfloat16* x;
  const float* gamma;
  int64_t stride, cols;
  float eps;
  __device__ void chunk(int64_t row, int64_t col, float (&v)[kChunk]) const {
    load8(x + row * stride + col, v);
  }
  __device__ float value(int64_t row, int64_t col) const { return to_float(x[row * stride + col]); }
  __device__ float factor(float squares) const {
    return 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
  }
};

// The sum over a row of what the threads bring for each of their chunks, in an order that the row's width
// alone decides: over 32 neighbouring chunks, then over those sums. `scratch` has room for a value each 32
// chunks.
template <int kChunks>
__device__ __forceinline__ float row_sum(const float (&of_chunk)[kChunks], int n_chunks, float* scratch) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const float sum = warp_reduce<Sum>(of_chunk[i]);
    if (lane == 0) scratch[i * n_warps + warp] = sum;
  }
  __syncthreads();
  float sum = 0;
  for (int i = lane; i < (n_chunks + 31) / 32; i += 32) sum += scratch[i];
  return warp_reduce<Sum>(sum);
}

// `parts` blocks a row, one cluster; sums and outliers want one block.
template <int kChunks, class Source>
__global__ void encode_rows(Source source, RowEncoder out, int n_chunks, int parts) {
  __shared__ float sums[Source::kSums ? kMostChunks * kMostThreads / 32 : 1];
  __shared__ float maxima[32], cluster_slot;
  __shared__ int32_t counts[32];
  const int64_t row = blockIdx.x / parts;
  const int first = static_cast<int>(blockIdx.x % parts * kChunks * blockDim.x + threadIdx.x);
  const auto chunk_of = [&](int i) { return first + i * static_cast<int>(blockDim.x); };
  const auto column = [&](int i) { return int64_t{chunk_of(i)} * kChunk; };
  float v[kChunks][kChunk];
  // gamma is written by no kernel: read before the wait for the one before this, or, where that takes too
  // many registers, brought near.
  constexpr bool kKept = Source::kSums && kChunks <= 2;
  float gamma[kKept ? kChunks : 1][kChunk];
  let_next_kernel_start();
  if constexpr (Source::kSums) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      if (chunk_of(i) >= n_chunks) break;
      if constexpr (kKept) {
        load8(source.gamma + column(i), gamma[i]);
      } else {
        prefetch_l1(source.gamma + column(i));
      }
    }
  }
  wait_for_previous_kernel();
#pragma unroll
  for (int i = 0; i < kChunks; ++i)  // all under way before the first is used
    if (chunk_of(i) < n_chunks) source.chunk(row, column(i), v[i]);
  float factor = 1;
  if constexpr (Source::kSums) {
    float squares[kChunks] = {};
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
#pragma unroll
      for (int j = 0; j < kChunk; ++j) squares[i] += chunk_of(i) < n_chunks ? v[i][j] * v[i][j] : 0;
    }
    factor = source.factor(row_sum(squares, n_chunks, sums));
  }
  float absmax = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    if (chunk_of(i) >= n_chunks) break;
    if constexpr (Source::kSums) {
      if constexpr (!kKept) load8(source.gamma + column(i), gamma[0]);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) v[i][j] = v[i][j] * factor * gamma[kKept ? i : 0][j];
    }
#pragma unroll
    for (int j = 0; j < kChunk; ++j) absmax = fmaxf(absmax, out.magnitude(v[i][j]));
  }
  const bool shared_row = out.dynamic && parts > 1;
  if (out.dynamic) absmax = block_reduce<Max>(absmax, maxima, 0.0f);
  if (shared_row) absmax = cluster_max(absmax, &cluster_slot);
  const float inv_scale = out.row_inverse(row, absmax, threadIdx.x == 0 && blockIdx.x % parts == 0);
  int32_t n_outliers = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    if (chunk_of(i) < n_chunks) n_outliers += out.put8(row, column(i), v[i], inv_scale);
  }
  if (out.outlier > 0) {
    n_outliers = block_reduce<Sum>(n_outliers, counts, 0);
    if (threadIdx.x == 0) out.outlier_count[row] = n_outliers;
  }
  if (shared_row) cluster_wait();
}

template <class Source>
__global__ void encode_ragged_rows(Source source, RowEncoder out, int64_t cols) {
  __shared__ float scratch[2][32];
  __shared__ int32_t count_scratch[32];
  const int64_t row = blockIdx.x;
  let_next_kernel_start();
  wait_for_previous_kernel();
  float factor = 1;
  if constexpr (Source::kSums) {
    float squares = 0;
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
      const float v = source.value(row, c);
      squares += v * v;
    }
    factor = source.factor(block_reduce<Sum>(squares, scratch[0], 0.0f));
  }
  const auto f = [&](int64_t c) {
    const float v = source.value(row, c);
    if constexpr (Source::kSums) return v * factor * source.gamma[c];
    return v;
  };
  float absmax = 0;
  if (out.dynamic) {
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
      absmax = fmaxf(absmax, out.magnitude(f(c)));
    }
    absmax = block_reduce<Max>(absmax, scratch[1], 0.0f);
  }
  const float inv_scale = out.row_inverse(row, absmax, threadIdx.x == 0);
  int32_t n_outliers = 0;
  for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
    n_outliers += out.put1(row, c, f(c), inv_scale);
  }
  if (out.outlier > 0) {
    n_outliers = block_reduce<Sum>(n_outliers, count_scratch, 0);
    if (threadIdx.x == 0) out.outlier_count[row] = n_outliers;
  }
}

template <class Source>
void launch(const Source& source, bool aligned, const QView& out, int64_t rows, cudaStream_t stream) {
  if (rows == 0) return;
  const RowEncoder encoder(out);
  const int64_t n_chunks = out.cols / kChunk;
  const dim3 grid(static_cast<unsigned>(rows));
  if (!aligned || out.cols % kChunk != 0 || n_chunks > kMostThreads * kMostChunks) {
    launch_dependent(encode_ragged_rows<Source>, grid, dim3(256), 0, stream, source, encoder, out.cols);
    return;
  }
  const bool few = rows <= kFewRows;
  const bool shared = few && n_chunks > kMostThreads && !Source::kSums && encoder.outlier == 0;
  const int64_t parts = shared ? std::min<int64_t>((n_chunks + kMostThreads - 1) / kMostThreads, 8) : 1;
  const int64_t of_block = (n_chunks + parts - 1) / parts;
  const int64_t each = of_block <= (rows <= kWideRows ? kMostThreads : 256) ? 1
                       : of_block <= 2 * kMostThreads                       ? 2
                       : of_block <= 4 * kMostThreads                       ? 4
                                                                            : 8;
  const dim3 block(static_cast<unsigned>(((of_block + each - 1) / each + 31) / 32 * 32));
  const auto kernel = each == 1   ? encode_rows<1, Source>
                      : each == 2 ? encode_rows<2, Source>
                      : each == 4 ? encode_rows<4, Source>
                                  : encode_rows<8, Source>;
  launch_dependent_clusters(kernel, dim3(static_cast<unsigned>(rows * parts)), static_cast<unsigned>(parts),
                            block, 0, stream, source, encoder, static_cast<int>(n_chunks),
                            static_cast<int>(parts));
}

bool aligned(const void* data, DType type, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
         dtype_bytes(type, static_cast<size_t>(stride)) % 16 == 0;
}

template <class Table>
__global__ void embed_rows(const int32_t* ids, const int32_t* sampled, const Table* table,
                           int64_t table_stride, __nv_bfloat16* x, int64_t stride, int64_t cols) {
  const int64_t t = blockIdx.x;
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int32_t id = ids[t] < 0 ? sampled[-1 - ids[t]] : ids[t];
  const Table* from = table + id * table_stride;
  for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
    x[t * stride + c] = __float2bfloat16_rn(static_cast<float>(from[c]));
}

// Rows of `words` T each.
template <class T>
__global__ void copy_rows(const T* from, int64_t from_stride, const int32_t* rows, T* to, int64_t to_stride,
                          int64_t words) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const T* source = from + rows[blockIdx.x] * from_stride;
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) to[blockIdx.x * to_stride + i] = source[i];
}

}  // namespace

void embed(const BatchView& batch, const int32_t* sampled, const View& table, const View& x,
           cudaStream_t stream) {
  OCTET_CHECK(x.type == DType::kBF16) << "activations are bf16";
  if (batch.n_tokens == 0) return;
  const auto run = [&](auto* rows) {
    using Table = std::remove_pointer_t<decltype(rows)>;
    launch_dependent(embed_rows<Table>, dim3(static_cast<unsigned>(batch.n_tokens)), dim3(256), 0, stream,
                     batch.token_ids, sampled, rows, table.stride, x.row<__nv_bfloat16>(0), x.stride, x.cols);
  };
  switch (table.type) {
    case DType::kF32:
      return run(table.row<const float>(0));
    case DType::kF16:
      return run(table.row<const __half>(0));
    case DType::kBF16:
      return run(table.row<const __nv_bfloat16>(0));
    default:
      OCTET_CHECK(false) << "embedding table of type " << dtype_name(table.type);
  }
}

void norm(const View& x, const float* gamma, float eps, const QView& out, cudaStream_t stream) {
  OCTET_CHECK(x.type == DType::kBF16) << "activations are bf16";
  const bool fast = aligned(x.data, x.type, x.stride) && aligned(gamma, DType::kF32, 0);
  launch(Norm{x.row<const __nv_bfloat16>(0), gamma, x.stride, x.cols, eps}, fast, out, x.rows, stream);
}

void quantize(const View& x, const QView& out, cudaStream_t stream) {
  const bool fast = aligned(x.data, x.type, x.stride);
  if (x.type == DType::kF32) {
    launch(Plain<float>{x.row<const float>(0), x.stride}, fast, out, x.rows, stream);
    return;
  }
  OCTET_CHECK(x.type == DType::kBF16) << "quantize takes f32 and bf16, not " << dtype_name(x.type);
  launch(Plain<__nv_bfloat16>{x.row<const __nv_bfloat16>(0), x.stride}, fast, out, x.rows, stream);
}

void silu_mul(const View& gate_up, const QView& out, cudaStream_t stream) {
  OCTET_CHECK(gate_up.type == DType::kBF16) << "activations are bf16";
  launch(Silu{gate_up.row<const __nv_bfloat16>(0), gate_up.stride, out.cols},
         aligned(gate_up.data, gate_up.type, gate_up.stride), out, gate_up.rows, stream);
}

void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out, cudaStream_t stream) {
  OCTET_CHECK(x.type == out.type) << dtype_name(x.type) << " and " << dtype_name(out.type);
  if (n_rows == 0) return;
  const auto run = [&](auto* from) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(from)>>;
    const auto words = [&](int64_t n) {
      return static_cast<int64_t>(dtype_bytes(x.type, static_cast<size_t>(n)) / sizeof(T));
    };
    launch_dependent(copy_rows<T>, dim3(static_cast<unsigned>(n_rows)), dim3(256), 0, stream, from,
                     words(x.stride), rows, static_cast<T*>(out.data), words(out.stride), words(x.cols));
  };
  const bool wide = aligned(x.data, x.type, x.stride) && aligned(out.data, out.type, out.stride) &&
                    aligned(nullptr, x.type, x.cols);
  if (wide) {
    run(static_cast<const uint4*>(x.data));
  } else {
    run(static_cast<const uint16_t*>(x.data));
  }
}

}  // namespace octet::cuda
