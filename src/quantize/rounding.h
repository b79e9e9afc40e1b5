// Weights onto their grid with regard to the inputs they will meet. The error of a row w of a weight,
// quantized to q, is (w - q) H (w - q)^T with H = sum x x^T over the calibration's inputs.
//
//   mse   each scale is the one of least error where H is taken for diagonal
//   gptq  on top: columns are rounded one after the other, and each one's error is made good by those not yet
//   rounded
//         (Frantar et al., "GPTQ", 2023). The order is that of falling H[c][c], the scales stay fixed: any
//         grid works.
#pragma once

#include <string>
#include <vector>

#include "backend/ops.h"
#include "base/thread_pool.h"
#include "formats/host_linear.h"
#include "quantize/layer_runner.h"

namespace octet {

enum class WeightRounding : uint8_t { kAbsmax, kMse, kGptq };
Result<WeightRounding> parse_rounding(const std::string& name);
const char* rounding_name(WeightRounding rounding);

// H [k, k] of the rows [0, end), computed by the backend's own products; then divided by s[i] s[j] where the
// input is.
Result<std::vector<float>> gram(Ops& ops, const ObservedRows& rows, int64_t end, const std::vector<float>& s);

// How an error in one column is made good by the others: made once for all weights that read the input.
struct Compensation {
  std::vector<int32_t> order;  // [k] column rounded i-th from last
  std::vector<float> factor;   // [k, k] lower triangle of L^-1, where H in that order (and damped) is L L^T
};
Compensation make_compensation(const std::vector<float>& hessian, int64_t k, ThreadPool& pool);

// weight [n, k] in the codes of `scheme`. `diagonal` [k]: H[c][c]. compensation null: rounded to nearest.
HostLinear round_weight(const std::vector<float>& weight, int64_t k, const QuantScheme& scheme,
                        const std::vector<float>& diagonal, const Compensation* compensation,
                        ThreadPool& pool);

}  // namespace octet
