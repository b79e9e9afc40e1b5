// pack_linear: a weight into the panels of its kernel.
#include <cstring>

#include "backend/cpu/cpu_linear.h"
#include "backend/cpu/linear.h"
#include "base/check.h"

namespace octet {
namespace {

constexpr int64_t kMaxInt8K = 65536;  // 255 * 128 * 65,536 < 2^31: sums stay exact with any zero point

const GemmKernel& kernel_for(const QuantScheme& scheme, Isa isa) {
  const QType weight = scheme.weight.type, input = scheme.input.type;
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return input == QType::kInt8 ? int8_kernel_avx2() : float_kernel_avx2(weight, input);
  if (isa == Isa::kAvx512) {
    if (input == QType::kInt8) return int8_kernel_avx512();
    if (input == QType::kBF16 || input == QType::kFp8) return bf16_kernel_avx512(weight, input);
    return weight == input ? float_kernel_avx512(input) : float_kernel_avx2(weight, input);
  }
#endif
  return input == QType::kInt8 ? int8_kernel_generic() : float_kernel_generic(weight, input);
}

Status check_weights(const LinearWeights& w) {
  OCTET_RETURN_IF_ERROR(check_scheme(w.scheme));
  if (w.scheme.input.type == QType::kInt8 && w.k > kMaxInt8K) {
    return unsupported("int8 linear layer with k = " + std::to_string(w.k) +
                       ": int32 sums are exact up to k = " + std::to_string(kMaxInt8K));
  }
  return {};
}

// k blocks of nearly equal length; within groups of columns that have a scale, the longest that divide them.
int64_t k_step_of(const QuantArgs& weight, int64_t k, const GemmKernel& kernel) {
  if (weight.scale != QScale::kGroup) {
    return round_up(ceil_div(k, ceil_div(k, kernel.k_block)), kernel.k_pad);
  }
  int64_t step = weight.group_size;
  for (int64_t parts = 2; step > kernel.k_block || step % kernel.k_pad != 0; ++parts) {
    if (weight.group_size % parts == 0) step = weight.group_size / parts;
  }
  return step;
}

// One slice: values of columns [n0, n0 + nr) and k in [k0, k0 + k_step), zeros beyond the matrix.
template <typename T>
void pack_slice(const LinearWeights& w, const CpuLinear& p, int64_t k0, int64_t panel) {
  const GemmKernel& kernel = *p.kernel;
  const int64_t n0 = panel * kernel.nr, cols = std::min<int64_t>(kernel.nr, p.n - n0);
  const int64_t k_end = std::min(k0 + p.k_step, p.k), group_size = kernel.k_group * kernel.nr;
  std::memset(p.slice(k0, panel), 0, p.slice_bytes(k0));
  for (int64_t column = 0; column < cols; ++column) {
    const T* row = static_cast<const T*>(w.data) + (n0 + column) * p.k;
    for (int64_t j = 0; j < kernel.k_group; ++j) {
      const int64_t in_order = column * kernel.k_group + j;
      T* out = reinterpret_cast<T*>(p.slice(k0, panel)) +
               (kernel.order != nullptr ? kernel.order[in_order] : in_order);
      for (int64_t k = k0 + j; k < k_end; k += kernel.k_group, out += group_size) *out = row[k];
    }
  }
}

// The same for pairs of codes of 4 bits in a byte.
void pack_slice_int4(const LinearWeights& w, const CpuLinear& p, int64_t k0, int64_t panel) {
  const int64_t nr = p.kernel->nr, n0 = panel * nr, cols = std::min<int64_t>(nr, p.n - n0);
  const int64_t pairs = ceil_div(std::min(p.k_step, p.k - k0), 2);
  std::memset(p.slice(k0, panel), 0, p.slice_bytes(k0));
  for (int64_t column = 0; column < cols; ++column) {
    const char* row = static_cast<const char*>(w.data) +
                      static_cast<size_t>(n0 + column) * code_bytes(QType::kInt4, p.k) + k0 / 2;
    char* out = p.slice(k0, panel) + column;
    for (int64_t i = 0; i < pairs; ++i) out[i * nr] = row[i];
  }
}

void pack_panel(const LinearWeights& w, const CpuLinear& p, int64_t panel) {
  for (int64_t k0 = 0; k0 < p.k; k0 += p.k_step) {
    if (p.kernel->w_bits == 4) pack_slice_int4(w, p, k0, panel);
    if (p.kernel->w_bits == 8) pack_slice<uint8_t>(w, p, k0, panel);
    if (p.kernel->w_bits == 16) pack_slice<uint16_t>(w, p, k0, panel);
    if (p.kernel->w_bits == 32) pack_slice<uint32_t>(w, p, k0, panel);
  }
}

int32_t sum_of(const int8_t* values, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

void pack_columns(const LinearWeights& w, CpuLinear& p) {
  const auto padded = static_cast<size_t>(p.padded_n());
  const auto n_groups = static_cast<size_t>(group_count(w.scheme.weight, p.k));
  p.w_scale.assign(padded * n_groups, 0);
  p.bias.assign(padded, 0);
  const bool is_int8 = w.scheme.input.type == QType::kInt8;
  if (is_int8) p.w_sum.assign(padded, 0);
  for (int64_t j = 0; j < p.n; ++j) {
    const auto column = static_cast<size_t>(j);
    for (size_t group = 0; group < n_groups; ++group) {
      const bool one = w.scheme.weight.scale == QScale::kTensor;
      p.w_scale[group * padded + column] =
          w.scheme.weight.quantized() ? w.scale[one ? 0 : column * n_groups + group] : 1.0f;
    }
    if (w.bias != nullptr) p.bias[column] = w.bias[j];
    if (is_int8) p.w_sum[column] = sum_of(static_cast<const int8_t*>(w.data) + j * p.k, p.k);
  }
}

}  // namespace

Result<std::unique_ptr<PackedLinear>> pack_linear(const LinearWeights& weights, Isa isa, ThreadPool& pool,
                                                  HugePages& memory) {
  OCTET_CHECK(weights.n >= 1 && weights.k >= 1 && weights.data != nullptr);
  OCTET_RETURN_IF_ERROR(check_weights(weights));
  OCTET_CHECK(!weights.scheme.weight.quantized() || weights.scale != nullptr)
      << "quantized weight without scale";

  auto p = std::make_unique<CpuLinear>();
  p->n = weights.n;
  p->k = weights.k;
  p->scheme = weights.scheme;
  p->kernel = &kernel_for(weights.scheme, isa);
  const GemmKernel& kernel = *p->kernel;
  p->k_step = k_step_of(weights.scheme.weight, p->k, kernel);
  p->n_panels = ceil_div(p->n, kernel.nr);
  const size_t panel_bytes =
      static_cast<size_t>(p->n_panels * round_up(p->k, kernel.k_pad) * kernel.nr * kernel.w_bits / 8);
  p->panels = memory.allocate(panel_bytes);
  if (p->panels == nullptr) {
    return resource_exhausted("linear layer of " + std::to_string(panel_bytes) + " bytes: no memory left");
  }
  pack_columns(weights, *p);
  p->bytes =
      panel_bytes + (p->w_scale.size() + p->bias.size()) * sizeof(float) + p->w_sum.size() * sizeof(int32_t);
  pool.parallel_for(p->n_panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) pack_panel(weights, *p, panel);
  });
  return std::unique_ptr<PackedLinear>(std::move(p));
}

}  // namespace octet
