// Rows of activations to and from the codes of a QView, one value at a time: the specification of every
// producer's last step and of every consumer's first.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "tensor/quant_codec.h"
#include "tensor/view.h"

namespace octet {

// What quantizing multiplies by. Finite even for a scale so small that its reciprocal is not.
inline float inverse_scale(float scale) {
  return std::min(1.0f / scale, std::numeric_limits<float>::max());
}

// int8 with a static scale uses all 256 codes, as those who calibrate do: clamp(round_half_even(x / scale) +
// zero_point, -128, 127).
inline int8_t f32_to_int8(float x, float inv_scale, int32_t zero_point) {
  const float q = std::nearbyintf(x * inv_scale) + static_cast<float>(zero_point);
  return static_cast<int8_t>(std::clamp(q, -128.0f, 127.0f));
}

// The scale of a dynamically quantized row, by its absolute maximum (of what is not kept apart).
inline float dynamic_scale(const QuantArgs& args, float absmax) {
  if (args.absmax_limit > 0) absmax = std::min(absmax, args.absmax_limit);
  return args.type == QType::kInt8 ? int8_scale(absmax) : e4m3_scale(absmax);
}

// Whether LLM.int8() keeps x in 16 bits. A NaN is no outlier.
inline bool is_outlier(const QuantArgs& args, float x) {
  return args.outlier > 0 && std::fabs(x) >= args.outlier;
}

// Writes row `r` of `out` from x[out.cols]: finds and stores the scale where it is dynamic, keeps outliers
// apart.
inline void encode_row(const float* x, const QView& out, int64_t r) {
  float inv_scale = 1;
  if (out.args.dynamic) {
    OCTET_CHECK(out.args.scale == QScale::kToken && out.args.symmetric) << to_string(out.args);
    float absmax = 0;
    for (int64_t c = 0; c < out.cols; ++c) {
      if (!is_outlier(out.args, x[c])) absmax = std::max(absmax, std::fabs(x[c]));
    }
    out.scale[r] = dynamic_scale(out.args, absmax);
    inv_scale = inverse_scale(out.scale[r]);
  } else if (out.args.quantized()) {
    OCTET_CHECK(out.args.scale == QScale::kTensor) << to_string(out.args);
    inv_scale = inverse_scale(out.scale[0]);
  }
  if (out.args.outlier > 0) {
    out.outlier_count[r] = 0;
    for (int64_t c = 0; c < out.cols; ++c) {
      const bool kept = is_outlier(out.args, x[c]);
      out.outliers[r * out.stride + c] = kept ? f32_to_bf16(x[c]) : 0;
      out.outlier_count[r] += kept ? 1 : 0;
      out.row<int8_t>(r)[c] = kept ? int8_t{0} : f32_to_int8(x[c], inv_scale);
    }
    return;
  }
  for (int64_t c = 0; c < out.cols; ++c) {
    switch (out.args.type) {
      case QType::kF32:
        out.row<float>(r)[c] = x[c];
        break;
      case QType::kF16:
        out.row<uint16_t>(r)[c] = f32_to_f16(x[c]);
        break;
      case QType::kBF16:
        out.row<uint16_t>(r)[c] = f32_to_bf16(x[c]);
        break;
      case QType::kFp8:
        out.row<uint8_t>(r)[c] = f32_to_e4m3(x[c] * inv_scale);
        break;
      case QType::kInt8:
        out.row<int8_t>(r)[c] =
            out.args.dynamic ? f32_to_int8(x[c], inv_scale)
                             : f32_to_int8(x[c], inv_scale, out.args.symmetric ? 0 : out.zero_point[0]);
        break;
      case QType::kInt4:
        OCTET_CHECK(false) << "4-bit activations do not exist";
    }
  }
}

// A code as a number, before scale and zero point.
inline float decode_code(const void* codes, QType type, int64_t i) {
  switch (type) {
    case QType::kF32:
      return static_cast<const float*>(codes)[i];
    case QType::kF16:
      return f16_to_f32(static_cast<const uint16_t*>(codes)[i]);
    case QType::kBF16:
      return bf16_to_f32(static_cast<const uint16_t*>(codes)[i]);
    case QType::kInt8:
      return static_cast<const int8_t*>(codes)[i];
    case QType::kFp8:
      return e4m3_to_f32(static_cast<const uint8_t*>(codes)[i]);
    case QType::kInt4:
      return static_cast<float>((static_cast<const uint8_t*>(codes)[i / 2] >> (i % 2 * 4) & 0xf) - 8);
  }
  return 0;
}

// An outlier kept beside the codes, 0 where there is none.
inline float decode_outlier(const QView& v, int64_t r, int64_t c) {
  return v.args.outlier > 0 ? bf16_to_f32(v.outliers[r * v.stride + c]) : 0;
}

// scale * (q - zero_point) without the scale, and the scale of a row (1 where there is none).
inline float decode_unscaled(const QView& v, int64_t r, int64_t c) {
  const float q = decode_code(v.data, v.args.type, r * v.stride + c);
  return v.args.symmetric ? q : q - static_cast<float>(v.zero_point[0]);
}
inline float row_scale(const QView& v, int64_t r) {
  if (!v.args.quantized()) return 1;
  return v.args.scale == QScale::kToken ? v.scale[r] : v.scale[0];
}

}  // namespace octet
