#include <algorithm>
#include <atomic>

#include <cuda.h>

#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_launch.h"
#include "backend/cuda/kernels/gemm_stream.cuh"
#include "backend/cuda/kernels/gemm_tile.cuh"
#include "base/check.h"

namespace octet::cuda {
namespace {

constexpr int32_t kMostGrouped = 8;   // pairs of token tiles that share weights in L2
constexpr int64_t kMostTokens = 256;  // of a tile, or of a cluster's

// A warp a row.
__global__ void column_sums_kernel(const int8_t* codes, int64_t n, int64_t k, int64_t row_bytes,
                                   int32_t* sums) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t row = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / 32;
  if (row >= n) return;
  int32_t sum = 0;
  for (int64_t i = threadIdx.x % 32; i < k; i += 32) sum += codes[row * row_bytes + i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) sums[row] = sum;
}

// Words of 4 bytes, or 16 where T has them. What comes next may read weights before its wait, so it may not
// start before this has ended.
template <class T>
__global__ void interleave_kernel(const T* from, T* to, int64_t n, int64_t words) {
  wait_for_previous_kernel();
  const int64_t all = n * words;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < all;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = i / words, block = row / 16, within = row % 16;
    const int64_t source = block * 8 + within % 8 + (within < 8 ? 0 : n / 2);
    to[i] = from[source * words + i % words];
  }
}

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's function, found at run time: nothing links libcuda.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function)
                                                                      : nullptr;
}

Encode encoder() {
  static const Encode encode = find_encode();
  return encode;
}

// Boxes of box_bytes x box_rows of a matrix, swizzled in shared memory; what is outside reads as zero.
bool encode_map(TensorMap& map, CUtensorMapDataType type, int64_t element, const void* data, int64_t columns,
                int64_t rows, int64_t stride_bytes, int32_t box_bytes, int32_t box_rows,
                CUtensorMapSwizzle swizzle) {
  const Encode encode = encoder();
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));
  if (encode == nullptr) return false;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_bytes / element), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode(reinterpret_cast<CUtensorMap*>(&map), type, 2, const_cast<void*>(data), sizes, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// An operand, whose type does not matter.
bool encode_operand(TensorMap& map, const void* data, int64_t row_bytes, int64_t rows, int64_t stride_bytes,
                    int32_t box_rows) {
  return encode_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, data, row_bytes, rows, stride_bytes, 128, box_rows,
                    CU_TENSOR_MAP_SWIZZLE_128B);
}

bool aligned_rows(const void* data, int64_t stride_bytes) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride_bytes % 16 == 0;
}

template <class Type>
const void* entry_of(const GemmPlan& plan, bool gated) {
  return plan.kernel == GemmKernel::kTile ? tile_entry<Type>(plan, gated) : stream_entry<Type>(plan);
}

const void* entry(QType type, const GemmPlan& plan, bool gated) {
  switch (type) {
    case QType::kFp8:
      return entry_of<E4M3>(plan, gated);
    case QType::kInt8:
      return entry_of<S8>(plan, gated);
    case QType::kBF16:
      return entry_of<BF16>(plan, gated);
    case QType::kF16:
      return entry_of<F16>(plan, gated);
    default:
      return nullptr;
  }
}

void launch(const void* kernel, int64_t blocks, int32_t threads, int64_t shared_bytes, int32_t cluster,
            void* args, cudaStream_t stream) {
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  void* list[1] = {args};
  cudaLaunchKernelExC(&config, kernel, list);
}

// How many clusters of `cluster` CTAs run at a time: fewer than multiprocessors / cluster where a part of the
// chip has an odd rest.
int32_t clusters_at_a_time(const void* kernel, int32_t cluster, int64_t shared_bytes) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(cluster));
  config.blockDim = dim3(kTileThreads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  int count = 0;
  cudaOccupancyMaxActiveClusters(&count, kernel, &config);
  return std::max(count, 1);
}

GemmOutput output(const QView& a, const GemmWeights& w, const GemmResults& d) {
  GemmOutput out;
  out.d = d.data;
  out.type = d.type;
  out.stride = d.stride;
  out.d_scale = d.scale;
  out.add = d.add;
  out.gated = w.gated;
  out.m = static_cast<int32_t>(a.rows);
  out.n = static_cast<int32_t>(w.n);
  out.a_scale = a.scale;
  out.a_step = a.args.scale == QScale::kToken ? 1 : 0;
  out.w_scale = w.scale;
  out.bias = w.bias;
  out.zero_point = a.args.symmetric ? nullptr : a.zero_point;
  out.column_sums = w.column_sums;
  out.vectors = aligned_rows(d.data, d.stride * static_cast<int64_t>(qtype_bytes(d.type)));
  const bool codes = d.type == QType::kInt8 || d.type == QType::kFp8;
  OCTET_CHECK(out.zero_point == nullptr || out.column_sums != nullptr) << "no column sums for a zero point";
  OCTET_CHECK(d.type == QType::kF32 || d.type == QType::kBF16 ||
              (w.gated && (d.type == QType::kF16 || (codes && d.scale != nullptr))))
      << "a product writes no type" << static_cast<int>(d.type);
  OCTET_CHECK(!(w.gated && d.add) && (!w.gated || w.n % 16 == 0));
  return out;
}

// How results leave in boxes.
bool describe_results(TensorMap& map, const GemmOutput& out, const GemmPlan& plan) {
  const int64_t columns = out.gated ? out.n / 2 : out.n;
  if (out.type == QType::kInt8 || out.type == QType::kFp8)
    return encode_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, out.d, columns, out.m, out.stride,
                      plan.tile_n / 2, 64, CU_TENSOR_MAP_SWIZZLE_NONE);
  if (out.gated)
    return encode_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, out.d, columns, out.m, out.stride * 2, 32, 64,
                      CU_TENSOR_MAP_SWIZZLE_32B);
  return encode_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, out.d, columns, out.m, out.stride * 2, 64, 64,
                    CU_TENSOR_MAP_SWIZZLE_64B);
}

// Whole tiles of rows, where they are there: TMA takes longer to fill rows outside with zeros than to read
// some.
int64_t rows_to_read(const QView& a) {
  const int64_t whole = (a.rows + kMostTokens - 1) / kMostTokens * kMostTokens;
  return std::min(whole, std::max(a.rows, a.rows_there));
}

void launch_stream(const void* kernel, const QView& a, const GemmWeights& w, const TensorMap& tokens,
                   const GemmOutput& out, const GemmPlan& plan, cudaStream_t stream) {
  const GemmProblem problem{w.type, a.rows, w.n, w.k};
  StreamArgs args;
  args.weights = plan.tile_n == 64 ? w.map_64 : w.map_128;
  args.tokens = tokens;
  args.out = out;
  args.stages = plan.stages;
  args.split = plan.split_k;
  args.blocks = static_cast<int32_t>(gemm_blocks(plan, problem));
  args.blocks_per_split = (args.blocks + plan.split_k - 1) / plan.split_k;
  args.token_tiles = static_cast<int32_t>((a.rows + plan.tile_m - 1) / plan.tile_m);
  const int64_t tiles = (w.n + plan.tile_n - 1) / plan.tile_n * args.token_tiles;
  launch(kernel, tiles * plan.split_k, 2 * plan.tile_n + 32, gemm_shared_bytes(plan), plan.split_k, &args,
         stream);
}

void launch_tile(const void* kernel, const QView& a, const GemmWeights& w, const TensorMap& tokens,
                 const GemmOutput& out, const GemmPlan& plan, cudaStream_t stream) {
  TileArgs args;
  args.weights = plan.tile_n == 128   ? w.map_64  // each CTA brings half
                 : plan.tile_n == 192 ? w.map_96
                 : plan.tile_n == 224 ? w.map_112
                                      : w.map_128;
  args.tokens = tokens;
  args.out = out;
  args.out.vectors = out.vectors && out.type != QType::kF32 && describe_results(args.results, out, plan);
  args.twos = out.type == QType::kF32 && !out.add && w.n % 2 == 0 && out.stride % 2 == 0 &&
              reinterpret_cast<uintptr_t>(out.d) % 8 == 0;
  const bool scaled = out.a_scale != nullptr && reinterpret_cast<uintptr_t>(out.w_scale) % 8 == 0;
  args.plain = out.bias == nullptr && out.zero_point == nullptr && w.n % 2 == 0 &&
               (qtype_bytes(w.type) == 1 ? scaled && out.w_scale != nullptr
                                         : out.a_scale == nullptr && out.w_scale == nullptr);
  args.blocks = static_cast<int32_t>(gemm_blocks(plan, {w.type, a.rows, w.n, w.k}));
  args.grid = gemm_tile_grid(plan, a.rows, w.n);
  const int32_t groups = std::max(1, (args.grid.pairs + kMostGrouped - 1) / kMostGrouped);
  args.group = std::max(1, (args.grid.pairs + groups - 1) / groups);
  const int32_t cluster = plan.square ? 4 : 2;
  const int64_t shared_bytes = gemm_shared_bytes(plan);  // about the same for all tiles
  static std::atomic<int32_t> known[2];                  // by `square`, found at the first launch
  int32_t most = known[plan.square];
  if (most == 0) known[plan.square] = most = clusters_at_a_time(kernel, cluster, shared_bytes);
  const int64_t clusters = std::min(most, args.grid.tiles());
  launch(kernel, cluster * clusters, kTileThreads, shared_bytes, cluster, &args, stream);
}

}  // namespace

Status prepare_gemm() {
  constexpr int kShared = 231424;
  if (encoder() == nullptr)
    return unsupported("cuda: the driver does not describe tensors to TMA: update it to CUDA 12 or newer");
  for (const QType type : {QType::kFp8, QType::kInt8, QType::kBF16, QType::kF16}) {
    for (const GemmPlan& plan : all_gemm_tiles()) {
      for (const bool gated : {false, true}) {
        const void* function = entry(type, plan, gated);
        if (function == nullptr) continue;
        const cudaError_t error =
            cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
        if (error != cudaSuccess)
          return unsupported(std::string("cuda: shared memory for products: ") + cudaGetErrorString(error));
      }
    }
  }
  return {};
}

Status describe_gemm_weights(GemmWeights& w) {
  const auto bytes = static_cast<int64_t>(qtype_bytes(w.type));
  if (aligned_rows(w.data, w.row_bytes) &&
      encode_operand(w.map_64, w.data, w.k * bytes, w.n, w.row_bytes, 64) &&
      encode_operand(w.map_96, w.data, w.k * bytes, w.n, w.row_bytes, 96) &&
      encode_operand(w.map_112, w.data, w.k * bytes, w.n, w.row_bytes, 112) &&
      encode_operand(w.map_128, w.data, w.k * bytes, w.n, w.row_bytes, 128)) {
    return {};
  }
  return internal_error("cuda: a weight of " + std::to_string(w.n) + " x " + std::to_string(w.k) +
                        " in rows of " + std::to_string(w.row_bytes) + " bytes is nothing for TMA");
}

void column_sums(const int8_t* codes, int64_t n, int64_t k, int64_t row_bytes, int32_t* sums,
                 cudaStream_t stream) {
  constexpr int kWarps = 8;
  launch_dependent(&column_sums_kernel, dim3(static_cast<unsigned>((n + kWarps - 1) / kWarps)),
                   dim3(32 * kWarps), 0, stream, codes, n, k, row_bytes, sums);
}

bool gemm_takes(const QView& a, const GemmWeights& w) {
  return w.data != nullptr && a.args.type == w.type && a.args.outlier == 0 &&
         aligned_rows(a.data, a.stride * static_cast<int64_t>(qtype_bytes(w.type)));
}

void interleave_gated(const void* from, void* to, int64_t n, int64_t row_bytes, cudaStream_t stream) {
  const dim3 blocks(1024), threads(256);
  if (row_bytes % 16 == 0) {
    launch_dependent(&interleave_kernel<uint4>, blocks, threads, 0, stream, static_cast<const uint4*>(from),
                     static_cast<uint4*>(to), n, row_bytes / 16);
  } else {
    launch_dependent(&interleave_kernel<uint32_t>, blocks, threads, 0, stream,
                     static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to), n, row_bytes / 4);
  }
}

void gemm(const QView& a, const GemmWeights& w, const GemmResults& d, const GemmPlan& plan,
          cudaStream_t stream) {
  if (a.rows == 0) return;
  OCTET_CHECK(a.cols == w.k && gemm_takes(a, w)) << a.cols << " x " << w.k;
  const GemmOutput out = output(a, w, d);
  const auto bytes = static_cast<int64_t>(qtype_bytes(w.type));
  const void* kernel = entry(w.type, plan, w.gated);
  TensorMap tokens;
  const int32_t box_rows = plan.square ? plan.tile_m / 2 : plan.tile_m;  // each of two brings half
  const bool described =
      encode_operand(tokens, a.data, w.k * bytes, rows_to_read(a), a.stride * bytes, box_rows);
  OCTET_CHECK(kernel != nullptr && described)
      << to_string(plan) << " over rows of " << a.stride * bytes << " bytes";
  const auto launch_kernel = plan.kernel == GemmKernel::kTile ? launch_tile : launch_stream;
  launch_kernel(kernel, a, w, tokens, out, plan, stream);
}

}  // namespace octet::cuda
