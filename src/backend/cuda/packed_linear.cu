#include <algorithm>
#include <vector>

#include "backend/cuda/kernels/quantize_weights.h"
#include "backend/cuda/packed_linear.h"

namespace octet::cuda {
namespace {

constexpr size_t kAlign = 256;
constexpr int64_t kValueBytes = int64_t{64} << 20;  // of values on the device at a time

size_t aligned(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

Status status_of(cudaError_t error) {
  return error == cudaSuccess
             ? Status()
             : internal_error(std::string("cuda: loading a weight: ") + cudaGetErrorString(error));
}

}  // namespace

Status CudaLinear::load(const LinearWeights& w, Ops& ops, Uploader& uploader, GemmPlanner& planner,
                        cudaStream_t stream) {
  n = w.n;
  k = w.k;
  scheme = w.scheme;
  weight_.args = w.scheme.weight;
  weight_.n = n;
  weight_.k = k;
  weight_.row_bytes = static_cast<int64_t>((code_bytes(w.scheme.weight.type, k) + 15) / 16 * 16);
  // One scale a matrix is stored as one a channel.
  const bool one_scale = weight_.args.quantized() && weight_.args.scale == QScale::kTensor;
  if (one_scale) weight_.args.scale = QScale::kChannel;
  const auto n_scales = static_cast<size_t>(scale_count(weight_.args, n, k));
  const size_t codes_bytes = aligned(static_cast<size_t>(n * weight_.row_bytes));
  const size_t scale_bytes = aligned(n_scales * sizeof(float));
  const size_t bias_bytes = w.bias != nullptr ? static_cast<size_t>(n) * sizeof(float) : 0;
  // What the zero point of asymmetric inputs is multiplied by.
  const bool sums = w.scheme.weight.type == QType::kInt8 && !w.scheme.input.symmetric;
  const size_t sums_bytes = sums ? static_cast<size_t>(n) * sizeof(int32_t) : 0;
  OCTET_ASSIGN_OR_RETURN(memory_, ops.allocate(codes_bytes + scale_bytes + aligned(bias_bytes) + sums_bytes));
  bytes = memory_.bytes();

  auto* codes = memory_.as<uint8_t>();
  auto* scale = reinterpret_cast<float*>(codes + codes_bytes);
  auto* bias = reinterpret_cast<float*>(codes + codes_bytes + scale_bytes);
  weight_.codes = codes;
  if (n_scales > 0) weight_.scale = scale;
  if (w.bias != nullptr) {
    weight_.bias = bias;
    OCTET_RETURN_IF_ERROR(status_of(uploader.copy(bias, w.bias, bias_bytes)));
  }
  auto* column_sums =
      sums ? reinterpret_cast<int32_t*>(codes + codes_bytes + scale_bytes + aligned(bias_bytes)) : nullptr;
  if (!w.values.empty()) {
    OCTET_RETURN_IF_ERROR(load_values(w, ops, codes, scale, uploader, stream));
    return describe(column_sums, planner, stream);
  }
  if (one_scale) {
    const std::vector<float> spread(n_scales, w.scale[0]);
    OCTET_RETURN_IF_ERROR(status_of(uploader.copy(scale, spread.data(), n_scales * sizeof(float))));
  } else if (n_scales > 0) {
    OCTET_RETURN_IF_ERROR(status_of(uploader.copy(scale, w.scale, n_scales * sizeof(float))));
  }
  OCTET_RETURN_IF_ERROR(load_codes(w, codes, uploader, stream));
  return describe(column_sums, planner, stream);
}

Status CudaLinear::describe(int32_t* sums, GemmPlanner& planner, cudaStream_t stream) {
  const QType type = weight_.args.type;
  const bool takes =
      type == QType::kInt8 || type == QType::kFp8 || type == QType::kBF16 || type == QType::kF16;
  if (!takes || weight_.args.scale == QScale::kGroup) return {};
  gemm_.type = type;
  gemm_.n = n;
  gemm_.k = k;
  gemm_.data = weight_.codes;
  gemm_.row_bytes = weight_.row_bytes;
  gemm_.scale = weight_.scale;
  gemm_.bias = weight_.bias;
  gemm_.column_sums = sums;
  if (sums != nullptr) {
    column_sums(reinterpret_cast<const int8_t*>(weight_.codes), n, k, weight_.row_bytes, sums, stream);
  }
  plans_ = planner.plans({type, n, k});
  return describe_gemm_weights(gemm_);
}

Status CudaLinear::load_codes(const LinearWeights& w, uint8_t* codes, Uploader& uploader,
                              cudaStream_t stream) {
  const size_t width = code_bytes(w.scheme.weight.type, k), pitch = static_cast<size_t>(weight_.row_bytes);
  if (width == pitch) return status_of(uploader.copy(codes, w.data, static_cast<size_t>(n) * width));
  return status_of(cudaMemcpy2DAsync(codes, pitch, w.data, width, width, static_cast<size_t>(n),
                                     cudaMemcpyHostToDevice, stream));
}

Status CudaLinear::load_values(const LinearWeights& w, Ops& ops, uint8_t* codes, float* scale,
                               Uploader& uploader, cudaStream_t stream) {
  OCTET_CHECK(can_quantize_weights(w.scheme.weight)) << to_string(w.scheme.weight);
  int64_t row = 0;
  for (const ValueRows& part : w.values) {
    const auto row_bytes = static_cast<int64_t>(dtype_bytes(part.type, static_cast<size_t>(k)));
    const int64_t at_once = std::clamp<int64_t>(kValueBytes / row_bytes, 1, part.n);
    OCTET_ASSIGN_OR_RETURN(const Buffer values, ops.allocate(static_cast<size_t>(at_once * row_bytes)));
    for (int64_t begin = 0; begin < part.n; begin += at_once) {
      const int64_t rows = std::min(at_once, part.n - begin);
      const auto* from = static_cast<const uint8_t*>(part.data) + begin * row_bytes;
      OCTET_RETURN_IF_ERROR(
          status_of(uploader.copy(values.data(), from, static_cast<size_t>(rows * row_bytes))));
      quantize_weights(values.data(), part.type, rows, k, w.scheme.weight,
                       codes + (row + begin) * weight_.row_bytes, weight_.row_bytes, scale + row + begin,
                       stream);
    }
    row += part.n;
  }
  OCTET_CHECK(row == n) << row << " rows of values, " << n << " of the weight";
  return {};
}

void CudaLinear::multiply(const QView& a, const View& d, cudaStream_t stream) const {
  if (gemm_.data == nullptr || !gemm_takes(a, gemm_)) return generic_linear(a, weight_, d, stream);
  gemm(a, gemm_, d, plans_->at(a.rows), stream);
}

}  // namespace octet::cuda
