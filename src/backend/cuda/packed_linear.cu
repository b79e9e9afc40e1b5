#include <algorithm>
#include <vector>

#include "backend/cuda/kernels/quantize_weights.h"
#include "backend/cuda/kernels/rows.h"
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

// Whether the tensor core kernels take every product with this weight, and can end it in SiLU.
bool can_gate(const LinearWeights& w) {
  const QuantArgs &weight = w.scheme.weight, &input = w.scheme.input;
  const bool type = weight.type == QType::kInt8 || weight.type == QType::kFp8 ||
                    weight.type == QType::kBF16 || weight.type == QType::kF16;
  return type && input.type == weight.type && input.outlier == 0 && weight.scale != QScale::kGroup &&
         w.n % 16 == 0 && w.k * static_cast<int64_t>(qtype_bytes(weight.type)) % 16 == 0;
}

// Whether such a product can write this form itself: not where a scale wants a whole row first.
bool writes(const QuantArgs& out) {
  return !out.quantized() || (!out.dynamic && out.symmetric && out.scale == QScale::kTensor);
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

  gemm_.gated = w.gated && can_gate(w);
  Buffer plain;  // rows in the order they come
  if (gemm_.gated) {
    OCTET_ASSIGN_OR_RETURN(plain, ops.allocate(memory_.bytes()));
  }
  auto* codes = gemm_.gated ? plain.as<uint8_t>() : memory_.as<uint8_t>();
  auto* scale = reinterpret_cast<float*>(codes + codes_bytes);
  auto* bias = reinterpret_cast<float*>(codes + codes_bytes + scale_bytes);
  if (w.bias != nullptr) OCTET_RETURN_IF_ERROR(status_of(uploader.copy(bias, w.bias, bias_bytes)));
  if (!w.values.empty()) {
    OCTET_RETURN_IF_ERROR(load_values(w, ops, codes, scale, uploader, stream));
  } else {
    OCTET_RETURN_IF_ERROR(load_codes(w, codes, uploader, stream));
    const std::vector<float> spread(one_scale ? n_scales : 0, one_scale ? w.scale[0] : 0.0f);
    const float* scales = one_scale ? spread.data() : w.scale;
    if (n_scales > 0)
      OCTET_RETURN_IF_ERROR(status_of(uploader.copy(scale, scales, n_scales * sizeof(float))));
  }
  auto* memory = memory_.as<uint8_t>();
  const auto place = [&](uint8_t* from, size_t offset, int64_t row_bytes) {
    if (gemm_.gated) interleave_gated(from + offset, memory + offset, n, row_bytes, stream);
    return memory + offset;
  };
  weight_.codes = place(codes, 0, weight_.row_bytes);
  if (n_scales > 0) weight_.scale = reinterpret_cast<float*>(place(codes, codes_bytes, sizeof(float)));
  if (w.bias != nullptr)
    weight_.bias = reinterpret_cast<float*>(place(codes, codes_bytes + scale_bytes, sizeof(float)));
  auto* column_sums =
      sums ? reinterpret_cast<int32_t*>(memory + codes_bytes + scale_bytes + aligned(bias_bytes)) : nullptr;
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

void CudaLinear::run(const QView& a, const GemmResults& d, cudaStream_t stream) const {
  const int64_t first = plans_->first_part(a.rows);
  gemm(a.head(first), gemm_, d, plans_->at(first), stream);
  if (first < a.rows) gemm(a.tail(first), gemm_, d.tail(first), plans_->at(a.rows - first), stream);
}

void CudaLinear::multiply(const QView& a, const View& d, bool add, cudaStream_t stream) const {
  OCTET_CHECK(!gemm_.gated && d.cols == n) << "a product of " << n << " into " << d.cols << " columns";
  if (gemm_.data == nullptr || !gemm_takes(a, gemm_)) return generic_linear(a, weight_, d, add, stream);
  run(a, GemmResults(d, add), stream);
}

void CudaLinear::multiply_gated(const QView& a, const View& scratch, const QView& out,
                                cudaStream_t stream) const {
  if (!gemm_.gated) {
    multiply(a, scratch, false, stream);
    return silu_mul(scratch, out, stream);
  }
  const bool whole = writes(out.args);
  const View product{scratch.data, scratch.type, a.rows, n / 2, n / 2};
  GemmResults d(product);
  if (whole) {
    d.data = out.data;
    d.type = out.args.type;
    d.stride = out.stride;
    d.scale = out.scale;
  }
  run(a, d, stream);
  if (!whole) quantize(product, out, stream);
}

}  // namespace octet::cuda
