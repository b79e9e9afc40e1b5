// norm, quantize and silu_mul on a GPU, at the widths and numbers of rows that go through each of their
// kernels: in float against double precision, in every form against the exact encoding of the float result,
// and each row against itself alone, bit for bit.
//
//   octet_rows_check [--small]      exits 1 where anything differs by more than its bound
//   --small: without rows that a cluster of blocks shares, which an emulation on the CPU does not have
#include <cmath>
#include <cstring>
#include <functional>

#include <cuda_bf16.h>

#include "backend/cuda/kernels/check_util.cuh"
#include "backend/cuda/kernels/rows.h"
#include "backend/quant_rows.h"

namespace octet::cuda::check {
namespace {

constexpr float kEps = 1e-5f;
struct Shape {
  int64_t rows, cols;
};
// A thread has one chunk of 8 columns, two, four, eight; rows that are not aligned, or too wide.
const Shape kShapes[] = {{1, 24},    {70, 576}, {3, 4096},  {70, 4096}, {600, 2056},
                         {70, 4104}, {2, 8200}, {2, 16392}, {5, 3001},  {2, 33000}};

const QuantArgs kForms[] = {{.type = QType::kBF16},
                            {.type = QType::kF16},
                            {.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true},
                            {.type = QType::kFp8, .scale = QScale::kToken, .dynamic = true},
                            {.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true, .outlier = 2.5f},
                            {.type = QType::kInt8, .scale = QScale::kTensor},
                            {.type = QType::kFp8, .scale = QScale::kTensor},
                            {.type = QType::kInt8, .scale = QScale::kTensor, .symmetric = false}};

// An op on rows [first, first + out.rows) of its input.
using Op = std::function<void(int64_t first, const QView& out)>;
using Truth = std::function<void(int64_t row, std::vector<double>& f, std::vector<double>& bound)>;

std::vector<float> as_f32(const Op& op, int64_t first, int64_t rows, int64_t cols) {
  Array<float> out(static_cast<size_t>(rows * cols), 0xff);
  op(first, {out.data(), {.type = QType::kF32}, rows, cols, cols});
  finish("a row kernel");
  return out.host();
}

void check_form(const std::string& name, const Op& op, const QuantArgs& args, const Shape& s,
                const std::vector<float>& plain) {
  const size_t n = static_cast<size_t>(s.rows * s.cols), bytes = qtype_bytes(args.type) * n;
  std::vector<uint8_t> codes(bytes);
  std::vector<float> scales(args.dynamic ? s.rows : 1, 0.017f);
  std::vector<uint16_t> outliers(args.outlier > 0 ? n : 0);
  std::vector<int32_t> counts(args.outlier > 0 ? s.rows : 0), zero_point = {-9};
  const Array<uint8_t> device_codes(bytes, 0xee);
  const Array<float> device_scales(scales);
  const Array<uint16_t> device_outliers(outliers.size(), 0xee);
  const Array<int32_t> device_counts(counts.size(), 0xee), device_zero(zero_point);
  const QView host{codes.data(),    args,         s.rows, s.cols, s.cols, scales.data(), zero_point.data(),
                   outliers.data(), counts.data()};
  for (int64_t r = 0; r < s.rows; ++r) encode_row(&plain[static_cast<size_t>(r * s.cols)], host, r);
  op(0, {device_codes.data(), args, s.rows, s.cols, s.cols, device_scales.data(), device_zero.data(),
         device_outliers.data(), device_counts.data()});
  finish(name.c_str());
  const std::string what = name + " as " + to_string(args);
  expect(device_codes.host() == codes, what + ": codes are not the encoding");
  expect(device_scales.host() == scales, what + ": scales");
  expect(device_outliers.host() == outliers && device_counts.host() == counts, what + ": outliers");
}

// alone: whether one row by itself can be computed.
void check_op(const std::string& name, const Op& op, const Truth& truth, const Shape& s, bool alone) {
  const std::vector<float> plain = as_f32(op, 0, s.rows, s.cols);
  std::vector<double> f(static_cast<size_t>(s.cols)), bound(f.size());
  double worst = 0;
  for (int64_t r = 0; r < s.rows; ++r) {
    truth(r, f, bound);
    for (int64_t c = 0; c < s.cols; ++c) {
      const auto i = static_cast<size_t>(c);
      const double error = std::abs(plain[static_cast<size_t>(r * s.cols + c)] - f[i]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error / (bound[i] + 1e-30));
    }
  }
  std::printf("%-8s %4lld x %-6lld error at most %.2f of its bound\n", name.c_str(),
              static_cast<long long>(s.rows), static_cast<long long>(s.cols), worst);
  const std::string what = name + " of " + std::to_string(s.rows) + " x " + std::to_string(s.cols);
  expect(worst <= 1, what);
  for (const QuantArgs& args : kForms) check_form(what, op, args, s, plain);
  for (const int64_t r : {int64_t{0}, s.rows / 2, s.rows - 1}) {
    if (!alone) break;
    const std::vector<float> by_itself = as_f32(op, r, 1, s.cols);
    expect(std::memcmp(by_itself.data(), &plain[static_cast<size_t>(r * s.cols)], by_itself.size() * 4) == 0,
           what + ": row " + std::to_string(r) + " alone has other bits");
  }
}

void check_shape(const Shape& s, bool small) {
  const auto cols = static_cast<size_t>(s.cols);
  std::vector<__nv_bfloat16> values(static_cast<size_t>(s.rows) * 2 * cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = __float2bfloat16_rn(noise(i) * 1.3f);
  std::vector<float> weights(cols);
  for (size_t c = 0; c < cols; ++c) weights[c] = 1 + 0.2f * noise(c + 77);
  const Array<__nv_bfloat16> x(values);
  const Array<float> gamma(weights);
  const auto rows_of = [&](int64_t first, int64_t rows, int64_t width) {
    return View{x.data() + first * width, DType::kBF16, rows, width, width};
  };
  const auto value = [&](int64_t row, int64_t width, size_t c) {
    return static_cast<double>(__bfloat162float(values[static_cast<size_t>(row * width) + c]));
  };
  const bool shared = s.rows <= 64 && s.cols > 4096;  // where sums do not want one block
  check_op(
      "norm",
      [&](int64_t first, const QView& out) {
        norm(rows_of(first, out.rows, s.cols), gamma.data(), kEps, out, nullptr);
      },
      [&](int64_t row, std::vector<double>& f, std::vector<double>& bound) {
        double squares = 0;
        for (size_t c = 0; c < cols; ++c) squares += value(row, s.cols, c) * value(row, s.cols, c);
        const double factor = 1 / std::sqrt(squares / static_cast<double>(s.cols) + kEps);
        for (size_t c = 0; c < cols; ++c) {
          f[c] = value(row, s.cols, c) * factor * weights[c];
          bound[c] = std::abs(f[c]) * 0x1p-17;  // of up to 130 additions in a line, and four roundings
        }
      },
      s, true);
  if (small && shared) return;
  const bool alone = !small || s.cols <= 4096 || s.cols % 8 != 0;
  check_op(
      "quantize",
      [&](int64_t first, const QView& out) { quantize(rows_of(first, out.rows, s.cols), out, nullptr); },
      [&](int64_t row, std::vector<double>& f, std::vector<double>& bound) {
        for (size_t c = 0; c < cols; ++c) f[c] = value(row, s.cols, c), bound[c] = 0;
      },
      s, alone);
  check_op(
      "silu_mul",
      [&](int64_t first, const QView& out) { silu_mul(rows_of(first, out.rows, 2 * s.cols), out, nullptr); },
      [&](int64_t row, std::vector<double>& f, std::vector<double>& bound) {
        for (size_t c = 0; c < cols; ++c) {
          const double gate = value(row, 2 * s.cols, c);
          f[c] = gate / (1 + std::exp(-gate)) * value(row, 2 * s.cols, c + cols);
          bound[c] = std::abs(f[c]) * (2 * std::abs(gate) + 12) * 0x1p-24;
        }
      },
      s, alone);
}

}  // namespace

int run(bool small) {
  for (const Shape& s : kShapes) check_shape(s, small);
  std::printf("row kernels are %s: %d failures\n", failures == 0 ? "right" : "WRONG", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace octet::cuda::check

int main(int argc, char** argv) {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || n == 0) {
    std::printf("skipped: there is no GPU\n");
    return 0;
  }
  return octet::cuda::check::run(argc > 1 && std::strcmp(argv[1], "--small") == 0);
}
