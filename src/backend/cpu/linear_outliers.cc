// The 16-bit part of LLM.int8(), over the columns alone in which a row of the block has an outlier.
//
// Those columns of the weights are taken out of their panel once a block of rows, some at a time, as numbers;
// every row then adds its own outliers times them to its result, column after column. A row's zeros between
// them are left out, so that its result is the same whatever columns the other rows need. Few columns: some
// percent of the int8 product.
#include <cstring>

#include "backend/cpu/cpu_linear.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr int64_t kColumnsAtOnce = 64;

struct Outliers {
  const QView& a;
  const LinearWork& work;

  const uint16_t* row(int64_t i) const { return a.outliers + (work.row + i) * a.stride; }
  bool any(int64_t i) const { return a.outlier_count[work.row + i] > 0; }

  // The next columns from `begin` on that some row needs, at most kColumnsAtOnce; returns where to go on.
  int64_t next(int64_t begin, int64_t* columns, int64_t* n) const {
    constexpr int64_t kSpan = 256;
    *n = 0;
    for (; begin < a.cols; begin += kSpan) {
      const int64_t span = std::min(kSpan, a.cols - begin);
      uint16_t needed[kSpan] = {};
      for (int64_t i = 0; i < work.rows; ++i) {
        if (!any(i)) continue;
        for (int64_t c = 0; c < span; ++c) needed[c] |= row(i)[begin + c];
      }
      for (int64_t c = 0; c < span; ++c) {
        if (needed[c] == 0) continue;
        if (*n == kColumnsAtOnce) return begin + c;
        columns[(*n)++] = begin + c;
      }
    }
    return a.cols;
  }
};

// Column k of the weights in one panel, times their scales, [nr].
void column_of(const CpuLinear& w, int64_t k, int64_t panel, float* out) {
  const GemmKernel& kernel = *w.kernel;
  const int64_t k0 = k / w.k_step * w.k_step, within = k - k0;
  const auto* codes = reinterpret_cast<const int8_t*>(w.slice(k0, panel)) +
                      within / kernel.k_group * kernel.nr * kernel.k_group + within % kernel.k_group;
  const float* scale = w.scales(0) + panel * kernel.nr;
  for (int j = 0; j < kernel.nr; ++j) out[j] = codes[j * kernel.k_group] * scale[j];
}

}  // namespace

void add_outliers(const QView& a, const CpuLinear& w, const View& d, const LinearWork& work) {
  const Outliers outliers{a, work};
  bool any = false;
  for (int64_t i = 0; i < work.rows; ++i) any = any || outliers.any(i);
  if (!any) return;

  const int64_t nr = w.kernel->nr;
  float weights[kColumnsAtOnce * kMaxTileCols];
  int64_t columns[kColumnsAtOnce];
  for (int64_t begin = 0, n = 0; begin < a.cols;) {
    begin = outliers.next(begin, columns, &n);
    for (int64_t panel = work.panel; panel < work.end_panel; ++panel) {
      const int64_t first = panel * nr, cols = std::min<int64_t>(nr, w.n - first);
      for (int64_t c = 0; c < n; ++c) column_of(w, columns[c], panel, weights + c * nr);
      for (int64_t i = 0; i < work.rows; ++i) {
        if (!outliers.any(i)) continue;
        float* out = d.row<float>(work.row + i) + first;
        for (int64_t c = 0; c < n; ++c) {
          const uint16_t bits = outliers.row(i)[columns[c]];
          if (bits == 0) continue;
          const float value = bf16_to_f32(bits);
          for (int64_t j = 0; j < cols; ++j) out[j] += value * weights[c * nr + j];
        }
      }
    }
  }
}

}  // namespace octet
