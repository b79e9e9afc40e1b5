#include "backend/cpu/linear.h"

#include <cstring>

#include "backend/cpu/cpu_linear.h"
#include "base/check.h"

namespace octet {
namespace {

constexpr size_t kLine = 64;  // bytes of a cache line
constexpr int64_t kMaxPanelRun = 16;

struct Product {
  const QView& a;
  const CpuLinear& w;
  const View& d;

  void load_rows(const LinearWork& work, int64_t k0, char* out, size_t stride) const;
  FinishArgs finish_args(int64_t row, int64_t panel) const;
  void finish(int64_t row, int rows, int64_t panel, const TileArgs& t) const;
  void finish_group(int64_t row, int rows, int64_t panel, int64_t k0, const TileArgs& t) const;
  void slice(const LinearWork& work, int64_t k0, int64_t panel, const char* a_block, size_t a_stride,
             const void* b) const;
  void operator()(const LinearWork& work) const;
};

void Product::load_rows(const LinearWork& work, int64_t k0, char* out, size_t stride) const {
  const int64_t k = std::min(w.k_step, w.k - k0);
  for (int64_t i = 0; i < work.rows; ++i) {
    const char* row = static_cast<const char*>(a.data) +
                      static_cast<size_t>((work.row + i) * a.stride + k0) * qtype_bytes(a.args.type);
    w.kernel->load_a(row, k, out + static_cast<size_t>(i) * stride);
  }
}

FinishArgs Product::finish_args(int64_t row, int64_t panel) const {
  static constexpr float kOne = 1;
  const int64_t column = panel * w.kernel->nr;
  const int step = a.args.scale == QScale::kToken ? 1 : 0;
  FinishArgs f;
  f.cols = static_cast<int>(std::min<int64_t>(w.kernel->nr, w.n - column));
  f.d = d.row<float>(row) + column;
  f.d_stride = d.stride;
  f.bias = w.bias.data() + column;
  f.w_sum = w.w_sum.empty() ? nullptr : w.w_sum.data() + column;
  f.a_scale = a.args.quantized() ? a.scale + row * step : &kOne;
  f.a_zero = a.args.symmetric ? nullptr : a.zero_point + row * step;
  f.a_scale_step = step;
  return f;
}

void Product::finish(int64_t row, int rows, int64_t panel, const TileArgs& t) const {
  FinishArgs f = finish_args(row, panel);
  f.sums = t.sums;
  f.sums_stride = t.sums_stride;
  f.rows = rows;
  f.w_scale = w.scales(0) + panel * w.kernel->nr;
  w.kernel->finish(f);
}

// The sums of a slice, whose columns share scales of their own, are scaled and added to those before: what d
// holds is the bias of the rest.
void Product::finish_group(int64_t row, int rows, int64_t panel, int64_t k0, const TileArgs& t) const {
  alignas(kLine) float so_far[kMaxTileCols] = {};
  for (int r = 0; r < rows; ++r) {
    FinishArgs f = finish_args(row + r, panel);
    f.sums = static_cast<const float*>(t.sums) + r * t.sums_stride;
    f.sums_stride = t.sums_stride;
    f.rows = 1;
    f.w_scale = w.scales(k0) + panel * w.kernel->nr;
    if (k0 > 0) {
      std::memcpy(so_far, f.d, static_cast<size_t>(f.cols) * sizeof(float));
      f.bias = so_far;
    }
    w.kernel->finish(f);
  }
}

// All rows of the block over one slice.
void Product::slice(const LinearWork& work, int64_t k0, int64_t panel, const char* a_block, size_t a_stride,
                    const void* b) const {
  const GemmKernel& kernel = *w.kernel;
  const bool last = k0 + w.k_step >= w.k, grouped = w.grouped();
  const int64_t column = panel * kernel.nr;
  const auto cols = static_cast<size_t>(std::min<int64_t>(kernel.nr, w.n - column));
  const int64_t n_tiles = ceil_div(work.rows, kernel.mr);
  // Between k blocks the sums wait in d, where the panel is not cut off by its edge.
  const bool edge = cols < static_cast<size_t>(kernel.nr), aside = edge || grouped;
  alignas(kLine) float tile_sums[kMaxTileRows * kMaxTileCols];
  if (aside) std::memset(tile_sums, 0, sizeof(tile_sums));

  TileArgs t;
  t.a_stride = a_stride;
  t.b = b;
  t.groups = w.groups(k0);
  t.add = k0 > 0 && !grouped;
  t.sums_stride = aside ? kernel.nr : d.stride;
  // The tiles fetch the next slice of the stream among them.
  const auto slice_bytes = static_cast<int64_t>(w.slice_bytes(k0));
  t.next_step = ceil_div(slice_bytes, t.groups * n_tiles);
  t.next = w.slice(k0, panel) + slice_bytes;
  for (int64_t tile = 0; tile < n_tiles; ++tile, t.next += t.next_step * t.groups) {
    const int64_t i = tile * work.rows / n_tiles, row = work.row + i;
    const int rows = static_cast<int>((tile + 1) * work.rows / n_tiles - i);
    const auto d_row = [&](int r) { return d.row<float>(row + r) + column; };
    t.a = a_block + static_cast<size_t>(i) * a_stride;
    t.sums = aside ? tile_sums : d_row(0);
    for (int r = 0; edge && t.add && r < rows; ++r) {
      std::memcpy(tile_sums + r * kernel.nr, d_row(r), cols * sizeof(float));
    }
    kernel.tile[rows - 1](t);
    if (grouped) {
      finish_group(row, rows, panel, k0, t);
      continue;
    }
    if (last) finish(row, rows, panel, t);
    for (int r = 0; edge && !last && r < rows; ++r) {
      std::memcpy(d_row(r), tile_sums + r * kernel.nr, cols * sizeof(float));
    }
  }
}

void Product::operator()(const LinearWork& work) const {
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

void linear(const QView& a, const PackedLinear& packed, const View& d, ThreadPool& pool) {
  const auto& w = static_cast<const CpuLinear&>(packed);
  OCTET_CHECK(a.cols == w.k && d.cols == w.n && a.rows == d.rows) << "linear of shapes that do not fit";
  OCTET_CHECK(a.args == w.scheme.input && d.type == DType::kF32) << "linear of types that do not fit";
  OCTET_CHECK(!a.args.quantized() || a.scale != nullptr) << "quantized input without scale";
  OCTET_CHECK(a.args.symmetric || a.zero_point != nullptr) << "asymmetric input without zero point";
  OCTET_CHECK(a.args.outlier == 0 || (a.outliers != nullptr && a.outlier_count != nullptr))
      << "input without its outliers";
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
      const LinearWork work{row, (row_block + 1) * a.rows / row_blocks - row, panel,
                            std::min(panel + run, w.n_panels)};
      product(work);
      if (a.args.outlier > 0) add_outliers(a, w, d, work);
    }
  });
}

}  // namespace octet
