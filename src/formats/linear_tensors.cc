// linear_tensors: one linear module as others expect to find it.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "formats/writer.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

using Read = std::function<Result<const HostLinear*>()>;
using Put = void (*)(const HostLinear& linear, std::span<uint8_t> out);

TensorToWrite tensor(const std::string& name, DType type, std::vector<int64_t> shape, const Read& read,
                     Put put) {
  return {name, type, std::move(shape), [read, put](std::span<uint8_t> out) -> Status {
            OCTET_ASSIGN_OR_RETURN(const HostLinear* linear, read());
            put(*linear, out);
            return {};
          }};
}

void put_codes(const HostLinear& linear, std::span<uint8_t> out) {
  OCTET_CHECK(out.size() == linear.codes.size()) << "codes of another size than their tensor";
  std::memcpy(out.data(), linear.codes.data(), out.size());
}

// int4 codes are the bytes of their words already, int8 codes lack half of their range.
void put_packed(const HostLinear& linear, std::span<uint8_t> out) {
  const size_t from = code_bytes(linear.scheme.weight.type, linear.k),
               to = out.size() / static_cast<size_t>(linear.n);
  const auto flip = static_cast<uint8_t>(linear.scheme.weight.type == QType::kInt8 ? 0x80 : 0);
  std::fill(out.begin(), out.end(), uint8_t{0});
  for (size_t j = 0; j < static_cast<size_t>(linear.n); ++j) {
    for (size_t i = 0; i < from; ++i) out[j * to + i] = linear.codes[j * from + i] ^ flip;
  }
}

void put_bf16(const std::vector<float>& values, std::span<uint8_t> out) {
  OCTET_CHECK(out.size() == values.size() * sizeof(uint16_t)) << "scales of another number than their tensor";
  std::transform(values.begin(), values.end(), reinterpret_cast<uint16_t*>(out.data()), f32_to_bf16);
}

void put_scale(const HostLinear& linear, std::span<uint8_t> out) {
  put_bf16(linear.scale, out);
}

void put_input_scale(const HostLinear& linear, std::span<uint8_t> out) {
  put_bf16(linear.input_scale, out);
}

void put_input_zero_point(const HostLinear& linear, std::span<uint8_t> out) {
  out[0] = static_cast<uint8_t>(linear.input_zero_point.at(0));
}

void put_shape(const HostLinear& linear, std::span<uint8_t> out) {
  const int64_t shape[2] = {linear.n, linear.k};
  std::memcpy(out.data(), shape, sizeof(shape));
}

// A bfloat16 value times 127 is exact, and so is dividing it again.
void put_absmax(const HostLinear& linear, std::span<uint8_t> out) {
  for (size_t j = 0; j < linear.scale.size(); ++j) {
    const float absmax = linear.scale[j] * kInt8Max;
    std::memcpy(out.data() + j * sizeof(float), &absmax, sizeof(float));
  }
}

}  // namespace

std::vector<TensorToWrite> linear_tensors(const std::string& module, const QuantScheme& scheme, int64_t n,
                                          int64_t k, const Read& read) {
  const DType codes = code_dtype(scheme.weight.type);
  if (!scheme.weight.quantized()) return {tensor(module + ".weight", codes, {n, k}, read, put_codes)};
  if (scheme.input.outlier > 0) {
    return {tensor(module + ".weight", codes, {n, k}, read, put_codes),
            tensor(module + ".SCB", DType::kF32, {n}, read, put_absmax),
            {module + ".weight_format", DType::kU8, {}, [](std::span<uint8_t> out) -> Status {
               out[0] = 0;  // rows one after the other
               return {};
             }}};
  }
  const bool one_scale = scheme.weight.scale == QScale::kTensor;
  const auto scale_shape =
      one_scale ? std::vector<int64_t>{1} : std::vector<int64_t>{n, group_count(scheme.weight, k)};
  auto scale = tensor(module + ".weight_scale", DType::kBF16, scale_shape, read, put_scale);
  if (!scheme.input.quantized() && scheme.weight.type != QType::kFp8) {
    const int64_t a_word = scheme.weight.type == QType::kInt4 ? 8 : 4, words = (k + a_word - 1) / a_word;
    return {tensor(module + ".weight_packed", DType::kI32, {n, words}, read, put_packed), std::move(scale),
            tensor(module + ".weight_shape", DType::kI64, {2}, read, put_shape)};
  }
  std::vector<TensorToWrite> tensors = {tensor(module + ".weight", codes, {n, k}, read, put_codes),
                                        std::move(scale)};
  if (scheme.static_input()) {
    tensors.push_back(tensor(module + ".input_scale", DType::kBF16, {1}, read, put_input_scale));
  }
  if (!scheme.input.symmetric) {
    tensors.push_back(tensor(module + ".input_zero_point", DType::kI8, {1}, read, put_input_zero_point));
  }
  return tensors;
}

}  // namespace octet
