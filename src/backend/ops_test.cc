// The op suite: every backend against the specification in reference/, over every form and ragged shape. This
// file holds the ops that work on rows; ops_linear_test.cc, ops_attention_test.cc and ops_sample_test.cc hold
// the others.
//
// Where a producer quantizes, its f32 form is held against the reference with a bound derived from the number
// of roundings, and every other form has to be the exact encoding of that backend's own f32 form.
#include <cstring>

#include "backend/ops_test_util.h"

namespace octet {
namespace {

struct Shape {
  int64_t rows, cols;
};
const Shape kShapes[] = {{1, 1},   {3, 7},    {1, 16},    {5, 24},  {33, 100},
                         {2, 576}, {70, 576}, {17, 1536}, {2, 3001}};

using RowOps = OpsTest;

TEST_P(RowOps, EmbedReadsEveryTableType) {
  const auto ops = make();
  const auto reference = make_reference_ops();
  const int64_t vocab = 50, hidden = 83;
  ForwardBatch batch;
  for (int i = 0; i < 41; ++i) batch.token_ids.push_back(i * 7 % vocab);
  std::mt19937 generator(3);
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<uint8_t> table(dtype_bytes(type, vocab * hidden));
    for (uint8_t& byte : table) byte = static_cast<uint8_t>(generator());
    for (size_t i = 0; i < table.size(); i += 2) table[i + 1] &= 0xbb;  // no infinity, no NaN
    const auto run = [&](Ops& backend) {
      const DeviceArray<uint8_t> device_table(backend, table);
      const DeviceMatrix x(backend, batch.n_tokens(), hidden);
      backend.embed(backend.stage(batch), {device_table.data(), type, vocab, hidden, hidden}, x.view());
      return x.host();
    };
    EXPECT_EQ(run(*ops), stored(*ops, run(*reference))) << dtype_name(type);
  }
}

TEST_P(RowOps, QuantizeIsExact) {
  const auto ops = make();
  for (const DType type : {ops->info().activation, DType::kF32}) {
    for (const Shape& s : kShapes) {
      const std::vector<float> x = stored(type, awkward_values(s.rows, s.cols));
      const DeviceMatrix device_x(*ops, s.rows, s.cols, type, x);
      for (const ActivationForm& form : activation_forms()) {
        const DeviceQuantized out(*ops, form.args, s.rows, s.cols);
        ops->quantize(device_x.view(), out.view());
        expect_encoded(x, out,
                       std::string(form.name) + " " + std::to_string(s.rows) + "x" + std::to_string(s.cols));
      }
    }
  }
}

TEST_P(RowOps, Norm) {
  const auto ops = make();
  const auto reference = make_reference_ops();
  const float eps = 1e-5f;
  for (const Shape& s : kShapes) {
    const std::string shape = std::to_string(s.rows) + "x" + std::to_string(s.cols);
    const std::vector<float> x = stored(*ops, random_values(s.rows * s.cols, 1, 3)),
                             gamma = random_values(s.cols, 3);
    const auto run = [&](Ops& backend, const QView& out) {
      const DeviceMatrix device_x(backend, s.rows, s.cols, x);
      const DeviceArray<float> device_gamma(backend, gamma);
      backend.norm(device_x.view(), device_gamma.data(), eps, out);
      EXPECT_EQ(device_x.host(), x) << shape;  // read alone
    };
    const DeviceMatrix normed(*ops, s.rows, s.cols, DType::kF32), expected(*reference, s.rows, s.cols);
    run(*ops, normed.as_f32());
    run(*reference, expected.as_f32());
    // A sum of n positive terms is off by n units at most, its root by half of that; then 6 more roundings.
    const std::vector<float> truth = expected.host(), actual = normed.host();
    const double units = 0.5 * static_cast<double>(s.cols) + 6;
    expect_close(
        actual, truth, [&](size_t i) { return units * kUnit * std::abs(truth[i]); }, shape);
    for (const ActivationForm& form : activation_forms()) {
      const DeviceQuantized out(*ops, form.args, s.rows, s.cols);
      run(*ops, out.view());
      expect_encoded(actual, out, std::string(form.name) + " " + shape);
    }
  }
}

TEST_P(RowOps, SiluMul) {
  const auto ops = make();
  const auto reference = make_reference_ops();
  for (const Shape& s : kShapes) {
    const std::string shape = std::to_string(s.rows) + "x" + std::to_string(s.cols);
    std::vector<float> gate_up = random_values(s.rows * 2 * s.cols, 4, 6);
    gate_up[0] = -200;  // exp overflows: the result is 0
    if (s.cols > 2) {
      gate_up[1] = 150;
      gate_up[2] = -87;
    }
    gate_up = stored(*ops, gate_up);
    const DeviceMatrix x(*ops, s.rows, 2 * s.cols, gate_up),
        reference_x(*reference, s.rows, 2 * s.cols, gate_up);
    const DeviceMatrix out(*ops, s.rows, s.cols, DType::kF32), expected(*reference, s.rows, s.cols);
    ops->silu_mul(x.view(), out.as_f32());
    reference->silu_mul(reference_x.view(), expected.as_f32());
    // exp may be 3e-7 off, five units; three more roundings, and what is below the normal numbers may be
    // lost.
    const std::vector<float> truth = expected.host(), actual = out.host();
    const auto units = [&](size_t i) {
      const auto r = static_cast<int64_t>(i) / s.cols, c = static_cast<int64_t>(i) % s.cols;
      return GetParam().fast_exp ? 2 * std::abs(gate_up[r * 2 * s.cols + c]) + 16 : 8.1;
    };
    expect_close(
        actual, truth, [&](size_t i) { return units(i) * kUnit * std::abs(truth[i]) + 1e-35; }, shape);
    for (const ActivationForm& form : activation_forms()) {
      const DeviceQuantized quantized(*ops, form.args, s.rows, s.cols);
      ops->silu_mul(x.view(), quantized.view());
      expect_encoded(actual, quantized, std::string(form.name) + " " + shape);
    }
  }
}

TEST_P(RowOps, GatherRows) {
  const auto ops = make();
  for (const int64_t cols : {1, 33, 4000}) {
    const std::vector<float> values = stored(*ops, random_values(9 * cols, 5));
    const DeviceMatrix x(*ops, 9, cols, values), out(*ops, 5, cols);
    const std::vector<int32_t> rows = {8, 0, 3, 3, 1};
    const DeviceArray<int32_t> device_rows(*ops, rows);
    ops->gather_rows(x.view(), device_rows.data(), 5, out.view());
    const std::vector<float> actual = out.host();
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(std::memcmp(&actual[i * cols], &values[rows[i] * cols], cols * 4), 0);
  }
}

// --- a row's bits do not depend on the rows beside it, nor on the threads

TEST_P(RowOps, RowsAreIndependent) {
  const auto many = make(3), one = make(1);
  const int64_t rows = 61, cols = 576;
  const std::vector<float> x = stored(*one, random_values(rows * 2 * cols, 9)),
                           gamma = random_values(cols, 10);
  const QuantArgs form{QType::kInt8, QScale::kToken, true};
  const auto run = [&](Ops& ops, int64_t first, int64_t n) {
    const std::vector<float> part(x.begin() + first * 2 * cols, x.begin() + (first + n) * 2 * cols);
    const DeviceMatrix gate_up(ops, n, 2 * cols, part);
    const DeviceArray<float> device_gamma(ops, gamma);
    const DeviceQuantized a(ops, form, n, cols), b(ops, form, n, cols);
    ops.silu_mul(gate_up.view(), a.view());
    View half = gate_up.view();
    half.cols = cols;
    ops.norm(half, device_gamma.data(), 1e-6f, b.view());
    std::vector<uint8_t> bytes = a.codes.host(), more = b.codes.host();
    const std::vector<float> s1 = a.scales.host(), s2 = b.scales.host();
    std::vector<std::vector<uint8_t>> out;
    const auto stride = static_cast<size_t>(a.stride);
    for (int64_t r = 0; r < n; ++r) {
      std::vector<uint8_t> row(&bytes[r * stride], &bytes[r * stride] + cols);
      row.insert(row.end(), &more[r * stride], &more[r * stride] + cols);
      for (const float s : {s1[r], s2[r]})
        row.insert(row.end(), reinterpret_cast<const uint8_t*>(&s), reinterpret_cast<const uint8_t*>(&s) + 4);
      out.push_back(std::move(row));
    }
    return out;
  };
  const auto together = run(*many, 0, rows);
  for (int64_t r = 0; r < rows; ++r) EXPECT_EQ(run(*one, r, 1)[0], together[r]) << "row " << r;
}

OCTET_INSTANTIATE_OPS_TEST(RowOps);

// Where there is no GPU, the suite runs without it and says so here; $OCTET_REQUIRE_CUDA makes that a
// failure.
TEST(CudaOps, IsTested) {
  if (cuda_problem().empty()) return;
  if (std::getenv("OCTET_REQUIRE_CUDA") != nullptr) FAIL() << cuda_problem();
  GTEST_SKIP() << cuda_problem();
}

TEST(CpuOps, OptionsThatMakeNoSense) {
  EXPECT_EQ(make_cpu_ops({.n_threads = -1}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(make_cpu_ops({.n_threads = 1000000}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(make_cpu_ops({.isa = "sse"}).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace octet
