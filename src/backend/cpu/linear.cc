#include "backend/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/gemm_kernel.h"
#include "base/check.h"

namespace octet {
namespace {

constexpr int64_t kMaxInt8K = 65536;  // 255 * 128 * 65,536 < 2^31: sums stay exact with any zero point
constexpr size_t kLine = 64;          // bytes of a cache line
constexpr int64_t kMaxPanelRun = 16;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

class CpuLinear final : public PackedLinear {
 public:
  const GemmKernel* kernel = nullptr;
  int64_t n_panels = 0;
  int64_t k_step = 0;  // values of k in a slice; the last k block may have fewer
  std::shared_ptr<char> panels;
  // [n_panels * nr], zeros after n
  std::vector<float> w_scale, bias;
  std::vector<int32_t> w_sum;  // int8 only

  int64_t groups(int64_t k0) const {
    return round_up(std::min(k_step, k - k0), kernel->k_pad) / kernel->k_group;
  }
  size_t slice_bytes(int64_t k0) const {
    return static_cast<size_t>(groups(k0) * kernel->k_group * kernel->nr * kernel->w_bytes);
  }
  // All panels of the k blocks before k0 lie before it; those blocks are full.
  char* slice(int64_t k0, int64_t panel) const {
    const size_t before = static_cast<size_t>(k0 * n_panels * kernel->nr * kernel->w_bytes);
    return panels.get() + before + static_cast<size_t>(panel) * slice_bytes(k0);
  }
};

// --- packing

const GemmKernel& kernel_for(QType type, Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return type == QType::kInt8 ? int8_kernel_avx2() : float_kernel_avx2(type);
  if (isa == Isa::kAvx512) {
    if (type == QType::kInt8) return int8_kernel_avx512();
    if (type == QType::kBF16 || type == QType::kFp8) return bf16_kernel_avx512(type);
    return float_kernel_avx512(type);
  }
#endif
  return type == QType::kInt8 ? int8_kernel_generic() : float_kernel_generic(type);
}

Status check_weights(const LinearWeights& w) {
  OCTET_RETURN_IF_ERROR(check_scheme(w.scheme));
  if (w.scheme.weight.type != w.scheme.input.type || w.scheme.input.outlier > 0) {
    return unsupported("scheme " + to_string(w.scheme) + " has no kernel on the CPU yet");
  }
  if (w.scheme.weight.type == QType::kInt8 && w.k > kMaxInt8K) {
    return unsupported("int8 linear layer with k = " + std::to_string(w.k) +
                       ": int32 sums are exact up to k = " + std::to_string(kMaxInt8K));
  }
  return {};
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

void pack_panel(const LinearWeights& w, const CpuLinear& p, int64_t panel) {
  for (int64_t k0 = 0; k0 < p.k; k0 += p.k_step) {
    if (p.kernel->w_bytes == 1) pack_slice<uint8_t>(w, p, k0, panel);
    if (p.kernel->w_bytes == 2) pack_slice<uint16_t>(w, p, k0, panel);
    if (p.kernel->w_bytes == 4) pack_slice<uint32_t>(w, p, k0, panel);
  }
}

int32_t sum_of(const int8_t* values, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

void pack_columns(const LinearWeights& w, CpuLinear& p) {
  const auto padded = static_cast<size_t>(p.n_panels * p.kernel->nr);
  p.w_scale.assign(padded, 0);
  p.bias.assign(padded, 0);
  const bool is_int8 = w.scheme.weight.type == QType::kInt8;
  if (is_int8) p.w_sum.assign(padded, 0);
  for (int64_t j = 0; j < p.n; ++j) {
    const auto column = static_cast<size_t>(j);
    p.w_scale[column] = !w.scheme.weight.quantized()               ? 1.0f
                        : w.scheme.weight.scale == QScale::kTensor ? w.scale[0]
                                                                   : w.scale[j];
    if (w.bias != nullptr) p.bias[column] = w.bias[j];
    if (is_int8) p.w_sum[column] = sum_of(static_cast<const int8_t*>(w.data) + j * p.k, p.k);
  }
}

// --- the product

// The block of rows and the run of panels that one thread works on.
struct Work {
  int64_t row, rows, panel, end_panel;
};

struct Product {
  const QView& a;
  const CpuLinear& w;
  const View& d;

  void load_rows(const Work& work, int64_t k0, char* out, size_t stride) const;
  void finish(const Work& work, int64_t i, int rows, int64_t panel, const TileArgs& t) const;
  void slice(const Work& work, int64_t k0, int64_t panel, const char* a_block, size_t a_stride,
             const void* b) const;
  void operator()(const Work& work) const;
};

void Product::load_rows(const Work& work, int64_t k0, char* out, size_t stride) const {
  const int64_t k = std::min(w.k_step, w.k - k0);
  for (int64_t i = 0; i < work.rows; ++i) {
    const char* row = static_cast<const char*>(a.data) +
                      static_cast<size_t>((work.row + i) * a.stride + k0) * qtype_bytes(a.args.type);
    w.kernel->load_a(row, k, out + static_cast<size_t>(i) * stride);
  }
}

void Product::finish(const Work& work, int64_t i, int rows, int64_t panel, const TileArgs& t) const {
  static constexpr float kOne = 1;
  const int64_t column = panel * w.kernel->nr, row = work.row + i;
  const int step = a.args.scale == QScale::kToken ? 1 : 0;
  FinishArgs f;
  f.sums = t.sums;
  f.sums_stride = t.sums_stride;
  f.rows = rows;
  f.cols = static_cast<int>(std::min<int64_t>(w.kernel->nr, w.n - column));
  f.d = d.row<float>(row) + column;
  f.d_stride = d.stride;
  f.w_scale = w.w_scale.data() + column;
  f.bias = w.bias.data() + column;
  f.w_sum = w.w_sum.empty() ? nullptr : w.w_sum.data() + column;
  f.a_scale = a.args.quantized() ? a.scale + row * step : &kOne;
  f.a_zero = a.args.symmetric ? nullptr : a.zero_point + row * step;
  f.a_scale_step = step;
  w.kernel->finish(f);
}

// All rows of the block over one slice.
void Product::slice(const Work& work, int64_t k0, int64_t panel, const char* a_block, size_t a_stride,
                    const void* b) const {
  const GemmKernel& kernel = *w.kernel;
  const bool last = k0 + w.k_step >= w.k;
  const int64_t column = panel * kernel.nr;
  const auto cols = static_cast<size_t>(std::min<int64_t>(kernel.nr, w.n - column));
  const int64_t n_tiles = ceil_div(work.rows, kernel.mr);
  // Between k blocks the sums wait in d, where the panel is not cut off by its edge.
  const bool edge = cols < static_cast<size_t>(kernel.nr);
  alignas(kLine) float edge_sums[kMaxTileRows * kMaxTileCols];
  if (edge) std::memset(edge_sums, 0, sizeof(edge_sums));

  TileArgs t;
  t.a_stride = a_stride;
  t.b = b;
  t.groups = w.groups(k0);
  t.add = k0 > 0;
  t.sums_stride = edge ? kernel.nr : d.stride;
  // The tiles fetch the next slice of the stream among them.
  const auto slice_bytes = static_cast<int64_t>(w.slice_bytes(k0));
  t.next_step = ceil_div(slice_bytes, t.groups * n_tiles);
  t.next = w.slice(k0, panel) + slice_bytes;
  for (int64_t tile = 0; tile < n_tiles; ++tile, t.next += t.next_step * t.groups) {
    const int64_t i = tile * work.rows / n_tiles;
    const int rows = static_cast<int>((tile + 1) * work.rows / n_tiles - i);
    const auto d_row = [&](int r) { return d.row<float>(work.row + i + r) + column; };
    t.a = a_block + static_cast<size_t>(i) * a_stride;
    t.sums = edge ? edge_sums : d_row(0);
    for (int r = 0; edge && t.add && r < rows; ++r) {
      std::memcpy(edge_sums + r * kernel.nr, d_row(r), cols * sizeof(float));
    }
    kernel.tile[rows - 1](t);
    if (last) finish(work, i, rows, panel, t);
    for (int r = 0; edge && !last && r < rows; ++r) {
      std::memcpy(d_row(r), edge_sums + r * kernel.nr, cols * sizeof(float));
    }
  }
}

void Product::operator()(const Work& work) const {
  const GemmKernel& kernel = *w.kernel;
  alignas(kLine) char a_block[kRowBlock * kMaxRowBytes];
  alignas(kLine) char b_slice[kMaxSliceBytes];
  for (int64_t k0 = 0; k0 < w.k; k0 += w.k_step) {
    const int64_t groups = w.groups(k0);
    // A line more than a whole number of them, so that the rows of a tile do not share cache sets.
    const auto a_stride =
        static_cast<size_t>(round_up(groups * kernel.k_group * kernel.a_bytes, kLine)) + kLine;
    load_rows(work, k0, a_block, a_stride);
    for (int64_t panel = work.panel; panel < work.end_panel; ++panel) {
      const void* b = w.slice(k0, panel);
      if (kernel.expand_b != nullptr) {
        kernel.expand_b(b, groups, b_slice);
        b = b_slice;
      }
      slice(work, k0, panel, a_block, a_stride, b);
    }
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
  p->kernel = &kernel_for(weights.scheme.weight.type, isa);
  const GemmKernel& kernel = *p->kernel;
  // k blocks of nearly equal length.
  p->k_step = round_up(ceil_div(p->k, ceil_div(p->k, kernel.k_block)), kernel.k_pad);
  p->n_panels = ceil_div(p->n, kernel.nr);
  const size_t panel_bytes =
      static_cast<size_t>(p->n_panels * round_up(p->k, kernel.k_pad) * kernel.nr * kernel.w_bytes);
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

void linear(const QView& a, const PackedLinear& packed, const View& d, ThreadPool& pool) {
  const auto& w = static_cast<const CpuLinear&>(packed);
  OCTET_CHECK(a.cols == w.k && d.cols == w.n && a.rows == d.rows) << "linear of shapes that do not fit";
  OCTET_CHECK(a.args == w.scheme.input && d.type == DType::kF32) << "linear of types that do not fit";
  OCTET_CHECK(!a.args.quantized() || a.scale != nullptr) << "quantized input without scale";
  OCTET_CHECK(a.args.symmetric || a.zero_point != nullptr) << "asymmetric input without zero point";
  if (a.rows == 0) return;

  const int64_t row_blocks = ceil_div(a.rows, kRowBlock);
  // Long runs of panels amortize load_a; four a thread keep the threads level.
  const int64_t run = std::clamp<int64_t>(w.n_panels * row_blocks / (4 * pool.size()), 1, kMaxPanelRun);
  const int64_t runs = ceil_div(w.n_panels, run);
  const Product product{a, w, d};
  pool.parallel_for(runs * row_blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row_block = item % row_blocks, panel = item / row_blocks * run;
      const int64_t row = row_block * a.rows / row_blocks;
      product({row, (row_block + 1) * a.rows / row_blocks - row, panel, std::min(panel + run, w.n_panels)});
    }
  });
}

}  // namespace octet
