// A block computes a tile of 32 x 32 results; tiles of both operands are decoded into shared memory, 32
// columns of k at a time. Bound by the arithmetic of plain cores and by the decoding: this path is for what
// is rare.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backend/cuda/device/pdl.h"
#include "backend/cuda/kernels/linear.h"

namespace octet::cuda {
namespace {

constexpr int kTile = 32, kThreads = 256, kEach = kTile * kTile / kThreads;

__device__ float decode(const uint8_t* row, QType type, int64_t i) {
  switch (type) {
    case QType::kF32:
      return reinterpret_cast<const float*>(row)[i];
    case QType::kF16:
      return __half2float(reinterpret_cast<const __half*>(row)[i]);
    case QType::kBF16:
      return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[i]);
    case QType::kInt8:
      return reinterpret_cast<const int8_t*>(row)[i];
    case QType::kFp8:
      return __half2float(__half(__nv_cvt_fp8_to_halfraw(row[i], __NV_E4M3)));
    case QType::kInt4:
      return static_cast<float>((row[i / 2] >> (i % 2 * 4) & 0xf) - 8);
  }
  return 0;
}

struct Input {
  const uint8_t* data;
  QuantArgs args;
  int64_t rows, stride;  // elements
  const float* scale;
  const int32_t* zero_point;
  const uint16_t* outliers;

  __device__ float scale_of(int64_t row) const {
    if (scale == nullptr) return 1;
    return args.scale == QScale::kToken ? scale[row] : scale[0];
  }
};

// T: int32_t where both operands are int8 codes, else float.
template <class T, class Out>
__global__ void multiply(Input a, DeviceWeight w, Out* d, int64_t d_stride, bool add, int input_bytes) {
  __shared__ T tile_a[kTile][kTile + 1], tile_w[kTile][kTile + 1];
  __shared__ float tile_outliers[kTile][kTile + 1];
  const int64_t row0 = int64_t{blockIdx.y} * kTile, col0 = int64_t{blockIdx.x} * kTile;
  const int64_t groups =
      w.args.scale == QScale::kGroup ? (w.k + w.args.group_size - 1) / w.args.group_size : 0;
  const bool outliers = a.args.outlier > 0;
  const int col = threadIdx.x % kTile,
            first_row = threadIdx.x / kTile;  // this thread's results: rows first_row + 8 i
  let_next_kernel_start();
  wait_for_previous_kernel();
  const T zero_point = a.args.symmetric ? T{0} : static_cast<T>(a.zero_point[0]);
  T sum[kEach] = {};
  float outlier_sum[kEach] = {};
  for (int64_t k0 = 0; k0 < w.k; k0 += kTile) {
    for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
      const int r = i / kTile, c = i % kTile;
      const int64_t row = row0 + r, n = col0 + r, k = k0 + c;
      const bool in_a = row < a.rows && k < w.k, in_w = n < w.n && k < w.k;
      const uint8_t* codes = a.data + row * a.stride * input_bytes;
      tile_a[r][c] = in_a ? static_cast<T>(decode(codes, a.args.type, k)) - zero_point : T{0};
      if (outliers) {
        tile_outliers[r][c] = in_a ? __uint_as_float(uint32_t{a.outliers[row * a.stride + k]} << 16) : 0.0f;
      }
      float value = in_w ? decode(w.codes + n * w.row_bytes, w.args.type, k) : 0.0f;
      if (groups > 0 && in_w) value *= w.scale[n * groups + k / w.args.group_size];
      tile_w[r][c] = static_cast<T>(value);
    }
    __syncthreads();
    for (int c = 0; c < kTile; ++c) {
      const T weight = tile_w[col][c];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        sum[i] += tile_a[first_row + 8 * i][c] * weight;
        if (outliers) outlier_sum[i] += tile_outliers[first_row + 8 * i][c] * static_cast<float>(weight);
      }
    }
    __syncthreads();
  }
  const int64_t n = col0 + col;
  if (n >= w.n) return;
  const float w_scale = w.scale != nullptr && groups == 0 ? w.scale[n] : 1.0f;
  const float bias = w.bias != nullptr ? w.bias[n] : 0.0f;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t row = row0 + first_row + 8 * i;
    if (row >= a.rows) continue;
    float value = static_cast<float>(sum[i]) * a.scale_of(row) * w_scale + bias;
    if (outliers) value += outlier_sum[i] * w_scale;
    Out* to = d + row * d_stride + n;
    if constexpr (sizeof(Out) == 4) {
      *to = add ? *to + value : value;
    } else {
      const __nv_bfloat16 rounded = __float2bfloat16_rn(value);
      *to = add ? __hadd_rn(*to, rounded) : rounded;
    }
  }
}

}  // namespace

void generic_linear(const QView& a, const DeviceWeight& w, const View& d, bool add, cudaStream_t stream) {
  if (a.rows == 0) return;
  const Input input{
      static_cast<const uint8_t*>(a.data), a.args, a.rows, a.stride, a.scale, a.zero_point, a.outliers};
  const auto tiles = [](int64_t n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  const dim3 grid(tiles(w.n), tiles(a.rows));
  const int input_bytes = static_cast<int>(qtype_bytes(a.args.type));
  const auto run = [&](auto sum, auto* out) {
    launch_dependent(multiply<decltype(sum), std::remove_pointer_t<decltype(out)>>, grid, dim3(kThreads), 0,
                     stream, input, w, out, d.stride, add, input_bytes);
  };
  OCTET_CHECK(d.type == DType::kF32 || d.type == DType::kBF16) << dtype_name(d.type);
  const bool integers = a.args.type == QType::kInt8 && w.args.type == QType::kInt8;
  if (d.type == DType::kF32) {
    integers ? run(int32_t{}, d.row<float>(0)) : run(float{}, d.row<float>(0));
  } else {
    integers ? run(int32_t{}, d.row<__nv_bfloat16>(0)) : run(float{}, d.row<__nv_bfloat16>(0));
  }
}

}  // namespace octet::cuda
