// The last step of every producer: a row of f32, just made, into the form its consumer wants. The codes are
// those of backend/quant_rows.h, bit by bit.
#pragma once

#include <cstring>

#include "backend/cpu/row_kernels.h"
#include "backend/quant_rows.h"

namespace octet::cpu {

// Where to make row `r` before encode_row: in place where the consumer wants f32, else `scratch` [out.cols].
inline float* staging_row(const QView& out, int64_t r, float* scratch) {
  return out.args.type == QType::kF32 ? out.row<float>(r) : scratch;
}

// x [out.cols] as row `r` of out, with its scale where that is dynamic. x may be the row itself; scratch
// [out.cols] may be x where nobody needs it any more.
inline void encode_row(const RowKernels& kernels, const float* x, const QView& out, int64_t r,
                       float* scratch) {
  const int64_t n = out.cols;
  if (out.args.outlier > 0) {
    out.outlier_count[r] =
        kernels.split_outliers(x, out.args.outlier, n, scratch, out.outliers + r * out.stride);
    x = scratch;
  }
  float inv_scale = 1;
  if (out.args.dynamic) {
    out.scale[r] = dynamic_scale(out.args, kernels.absmax(x, n));
    inv_scale = inverse_scale(out.scale[r]);
  } else if (out.args.quantized()) {
    inv_scale = inverse_scale(out.scale[0]);
  }
  const bool symmetric = out.args.symmetric;
  switch (out.args.type) {
    case QType::kF32:
      if (x != out.row<float>(r)) std::memcpy(out.row<float>(r), x, static_cast<size_t>(n) * sizeof(float));
      break;
    case QType::kF16:
      kernels.to_f16(x, n, out.row<uint16_t>(r));
      break;
    case QType::kBF16:
      kernels.to_bf16(x, n, out.row<uint16_t>(r));
      break;
    case QType::kFp8:
      kernels.to_e4m3(x, inv_scale, n, out.row<uint8_t>(r));
      break;
    case QType::kInt8:
      kernels.to_i8(x, inv_scale, symmetric ? 0.0f : static_cast<float>(out.zero_point[0]),
                    out.args.dynamic ? -127.0f : -128.0f, n, out.row<int8_t>(r));
      break;
    case QType::kInt4:
      OCTET_CHECK(false) << "4-bit activations do not exist";
  }
}

}  // namespace octet::cpu
