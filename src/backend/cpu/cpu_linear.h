// A weight in the panels of its kernel (gemm_kernel.h), as linear.cc multiplies it.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "backend/cpu/gemm_kernel.h"
#include "backend/ops.h"

namespace octet {

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

class CpuLinear final : public PackedLinear {
 public:
  const GemmKernel* kernel = nullptr;
  int64_t n_panels = 0;
  // Values of k in a slice; the last k block may have fewer. Where groups of columns have scales, a slice
  // lies within one.
  int64_t k_step = 0;
  std::shared_ptr<char> panels;
  std::vector<float> w_scale;  // [groups, padded_n], zeros after n
  std::vector<float> bias;     // [padded_n], zeros after n
  std::vector<int32_t> w_sum;  // the same; int8 inputs only

  bool grouped() const { return scheme.weight.scale == QScale::kGroup; }
  int64_t padded_n() const { return n_panels * kernel->nr; }
  const float* scales(int64_t k0) const {
    return w_scale.data() + (grouped() ? k0 / scheme.weight.group_size * padded_n() : 0);
  }
  // Of kernel->k_group values of k, in the slices of the k block that begins at k0.
  int64_t groups(int64_t k0) const {
    return round_up(std::min(k_step, k - k0), kernel->k_pad) / kernel->k_group;
  }
  size_t slice_bytes(int64_t k0) const {
    return static_cast<size_t>(groups(k0) * kernel->k_group * kernel->nr * kernel->w_bits / 8);
  }
  // All panels of the k blocks before k0 lie before it; those blocks are full.
  char* slice(int64_t k0, int64_t panel) const {
    const size_t before = static_cast<size_t>(k0 * padded_n() * kernel->w_bits / 8);
    return panels.get() + before + static_cast<size_t>(panel) * slice_bytes(k0);
  }
};

// The block of rows and the run of panels that one thread works on.
struct LinearWork {
  int64_t row, rows, panel, end_panel;
};

// d += (outliers . w^T) * w_scale for the rows of the block that have outliers: LLM.int8()'s products in 16
// bits. They are added to an element one by one, in the order of its row's own outliers. About 20 KiB of
// stack.
void add_outliers(const QView& a, const CpuLinear& w, const View& d, const LinearWork& work);

}  // namespace octet
