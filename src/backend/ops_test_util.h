// What the op suite shares: the list of backends it runs over, and memory of theirs filled from host vectors.
//
// A new backend joins the suite with one line in test_backends().
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/isa.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/quant_rows.h"
#include "backend/reference/reference_ops.h"
#include "backend/tracing_ops.h"

namespace octet {

// One rounding to f32.
inline constexpr double kUnit = 0x1p-24;

struct TestBackend {
  std::string name;
  std::function<std::unique_ptr<Ops>(int n_threads)> make;
  bool on_host = true;
  // Attention multiplies in bf16 where the cache is bf16 or 8 bit: weights are rounded to it, and where
  // bf16_queries also the queries, scaled.
  bool bf16_products = false, bf16_queries = false;
  bool bf16_attention = false;  // attention's result is rounded to bf16 before it is encoded
  bool batch_invariant = true;  // in every op and form
  bool fast_exp = false;        // SiLU's exponential is off by 2 |x| + 12 units
  bool aligned_rows = false;    // rows of test data begin at multiples of 16 bytes
  double fp8_sum_unit = 0;  // sums of fp8 products keep so much of their largest addend: 0 for float's own
};

// Why there is no CUDA device to test; empty: there is one.
inline const std::string& cuda_problem() {
  static const std::string problem = [] {
    const auto ops = make_cuda_ops({});
    return ops.ok() ? std::string() : ops.status().message();
  }();
  return problem;
}

inline std::vector<TestBackend> test_backends() {
  std::vector<TestBackend> backends;
  for (const Isa isa : supported_isas()) {
    const std::string name = isa_name(isa);
    const auto make = [name](int n_threads) {
      return std::move(make_cpu_ops({.n_threads = n_threads, .isa = name})).value();
    };
    backends.push_back({.name = "cpu_" + name,
                        .make = make,
                        .bf16_products = isa == Isa::kAvx512,
                        .bf16_queries = isa == Isa::kAvx512});
  }
  TestBackend traced =
      backends.back();  // the best instruction set: every op is the same with marks around it
  traced.name = "traced_" + traced.name;
  traced.make = [make = traced.make](int n_threads) -> std::unique_ptr<Ops> {
    auto tracing = std::make_unique<TracingOps>(make(n_threads));
    EXPECT_TRUE(tracing->prepare(4096).ok());
    tracing->start();
    return tracing;
  };
  backends.push_back(traced);
  if (!cuda_problem().empty()) return backends;
  for (const bool aligned :
       {false, true}) {  // ragged rows and the default; aligned rows and --batch-invariant
    const auto make = [aligned](int) {
      return std::move(make_cuda_ops({.batch_invariant = aligned})).value();
    };
    backends.push_back({.name = aligned ? "cuda_aligned_invariant" : "cuda",
                        .make = make,
                        .on_host = false,
                        .bf16_products = true,
                        .bf16_attention = true,
                        .batch_invariant = aligned,
                        .fast_exp = true,
                        .aligned_rows = aligned,
                        .fp8_sum_unit = 0x1p-13});
  }
  return backends;
}

// How far apart rows of test data begin: of the backend under test.
inline bool aligned_rows = false;
inline int64_t row_stride(int64_t cols, int64_t gap) {
  return aligned_rows ? (cols + gap + 15) / 16 * 16 : cols + gap;
}

// The values as a matrix of this type holds them.
inline std::vector<float> stored(DType type, std::vector<float> values) {
  if (type == DType::kBF16) {
    for (float& v : values) v = bf16_to_f32(f32_to_bf16(v));
  }
  return values;
}
inline std::vector<float> stored(const Ops& ops, std::vector<float> values) {
  return stored(ops.info().activation, std::move(values));
}
// What rounding a result to this type may add to its error.
inline double storing_error(DType type, double value) {
  return type == DType::kBF16 ? 0x1p-8 * std::abs(value) : 0;
}

class OpsTest : public testing::TestWithParam<TestBackend> {
 protected:
  void SetUp() override { aligned_rows = GetParam().aligned_rows; }
  static OpsLimits limits(const AttentionSpec& spec = {.n_heads = 2, .n_kv_heads = 1, .head_dim = 16}) {
    return {.max_tokens = 1024,
            .max_seqs = 32,
            .max_context = 4096,
            .max_logits = 64,
            .vocab_size = 5000,
            .max_cols = 4096,
            .attention = spec};
  }
  std::unique_ptr<Ops> make(int n_threads = 3, const OpsLimits& sizes = limits()) const {
    auto ops = GetParam().make(n_threads);
    EXPECT_TRUE(ops->reserve(sizes).ok());
    return ops;
  }
};

#define OCTET_INSTANTIATE_OPS_TEST(suite)                                       \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::ValuesIn(test_backends()), \
                           [](const auto& backend) { return backend.param.name; })

// An array in a backend's memory.
template <class T>
class DeviceArray {
 public:
  DeviceArray(Ops& ops, const std::vector<T>& host)
      : ops_(ops), size_(host.size()), buffer_(allocate(ops, size_)) {
    ops.upload(buffer_.data(), host.data(), size_ * sizeof(T));
  }
  DeviceArray(Ops& ops, size_t size) : ops_(ops), size_(size), buffer_(allocate(ops, size)) {}
  T* data() const { return buffer_.as<T>(); }
  std::vector<T> host() const {
    std::vector<T> out(size_);
    ops_.download(out.data(), buffer_.data(), size_ * sizeof(T));
    return out;
  }

 private:
  static Buffer allocate(Ops& ops, size_t size) { return std::move(ops.allocate(size * sizeof(T))).value(); }
  Ops& ops_;
  size_t size_;
  Buffer buffer_;
};

// A matrix in a backend's memory, of the type of its activations unless another is asked for; its rows
// further apart than they are long.
struct DeviceMatrix {
  static constexpr int64_t kGap = 3;
  int64_t rows, cols, stride;
  DType type;
  DeviceArray<uint8_t> array;

  DeviceMatrix(Ops& ops, int64_t n_rows, int64_t n_cols)
      : DeviceMatrix(ops, n_rows, n_cols, ops.info().activation) {}
  DeviceMatrix(Ops& ops, int64_t n_rows, int64_t n_cols, DType dtype)
      : rows(n_rows),
        cols(n_cols),
        stride(row_stride(n_cols, kGap)),
        type(dtype),
        array(ops, dtype_bytes(dtype, static_cast<size_t>(n_rows * stride))) {}
  DeviceMatrix(Ops& ops, int64_t n_rows, int64_t n_cols, const std::vector<float>& values)
      : DeviceMatrix(ops, n_rows, n_cols, ops.info().activation, values) {}
  DeviceMatrix(Ops& ops, int64_t n_rows, int64_t n_cols, DType dtype, const std::vector<float>& values)
      : rows(n_rows),
        cols(n_cols),
        stride(row_stride(n_cols, kGap)),
        type(dtype),
        array(ops, spread(dtype, n_rows, n_cols, stride, values)) {}
  View view() const { return {array.data(), type, rows, cols, stride}; }
  QView as_f32() const {
    OCTET_CHECK(type == DType::kF32);
    return {array.data(), {QType::kF32}, rows, cols, stride};
  }
  std::vector<float> host() const {  // [rows, cols]
    const std::vector<uint8_t> all = array.host();
    std::vector<float> out;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        out.push_back(
            decode_code(all.data(), type == DType::kF32 ? QType::kF32 : QType::kBF16, r * stride + c));
      }
    }
    return out;
  }

 private:
  static std::vector<uint8_t> spread(DType type, int64_t n_rows, int64_t n_cols, int64_t stride,
                                     const std::vector<float>& values) {
    const size_t bytes = dtype_bytes(type, 1);
    std::vector<uint8_t> all(static_cast<size_t>(n_rows * stride) * bytes,
                             0x47);  // a large number in both types
    for (int64_t r = 0; r < n_rows; ++r) {
      for (int64_t c = 0; c < n_cols; ++c) {
        const float v = values[r * n_cols + c];
        const uint16_t half = f32_to_bf16(v);
        std::memcpy(&all[(r * stride + c) * bytes],
                    type == DType::kF32 ? static_cast<const void*>(&v) : &half, bytes);
      }
    }
    return all;
  }
};

// The forms that activations can take.
struct ActivationForm {
  const char* name;
  QuantArgs args;
};
inline std::vector<ActivationForm> activation_forms() {
  return {{"f32", {QType::kF32}},
          {"bf16", {QType::kBF16}},
          {"fp16", {QType::kF16}},
          {"int8_token", {QType::kInt8, QScale::kToken, true}},
          {"int8_tensor", {QType::kInt8, QScale::kTensor}},
          {"int8_tensor_asymmetric", {QType::kInt8, QScale::kTensor, false, false}},
          {"int8_token_outliers",
           {.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true, .outlier = 2.5f}},
          {"fp8_token", {QType::kFp8, QScale::kToken, true}},
          {"fp8_token_limited",
           {.type = QType::kFp8, .scale = QScale::kToken, .dynamic = true, .absmax_limit = 1.5f}},
          {"fp8_tensor", {QType::kFp8, QScale::kTensor}}};
}

// A QView and its memory. Static scales are such that some values saturate.
struct DeviceQuantized {
  static constexpr int64_t kGap = 5;
  static constexpr uint8_t kFill = 0xa5;
  QuantArgs args;
  int64_t rows, cols, stride;
  DeviceArray<uint8_t> codes;
  DeviceArray<float> scales;
  DeviceArray<int32_t> zero_point;
  DeviceArray<uint16_t> outliers;
  DeviceArray<int32_t> outlier_count;

  DeviceQuantized(Ops& ops, const QuantArgs& form, int64_t n_rows, int64_t n_cols, int64_t gap = kGap)
      : args(form),
        rows(n_rows),
        cols(n_cols),
        stride(row_stride(n_cols, gap)),
        codes(ops, std::vector<uint8_t>(n_rows * stride * qtype_bytes(form.type), kFill)),
        scales(ops, std::vector<float>(n_rows, form.type == QType::kFp8 ? 0.0043f : 0.0171f)),
        zero_point(ops, std::vector<int32_t>(1, -37)),
        outliers(ops, std::vector<uint16_t>(form.outlier > 0 ? n_rows * stride : 1, kFill)),
        outlier_count(ops, std::vector<int32_t>(form.outlier > 0 ? n_rows : 1, -1)) {}
  QView view() const {
    return {codes.data(),
            args,
            rows,
            cols,
            stride,
            args.quantized() ? scales.data() : nullptr,
            args.symmetric ? nullptr : zero_point.data(),
            args.outlier > 0 ? outliers.data() : nullptr,
            args.outlier > 0 ? outlier_count.data() : nullptr};
  }
};

// The codes and scales of `actual` are, bit by bit, those that the specification gives for x [rows, cols].
inline void expect_encoded(const std::vector<float>& x, const DeviceQuantized& actual,
                           const std::string& what) {
  const auto reference = make_reference_ops();
  const DeviceQuantized expected(*reference, actual.args, actual.rows, actual.cols);
  for (int64_t r = 0; r < actual.rows; ++r) encode_row(&x[r * actual.cols], expected.view(), r);
  EXPECT_EQ(actual.scales.host(), expected.scales.host()) << what;
  EXPECT_EQ(actual.outliers.host(), expected.outliers.host()) << what;
  EXPECT_EQ(actual.outlier_count.host(), expected.outlier_count.host()) << what;
  const auto a = actual.codes.host(), e = expected.codes.host();  // with the gaps, which nobody may touch
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += a[i] != e[i];
  EXPECT_EQ(different, 0u) << what << ": bytes that differ, of " << a.size();
}

inline void expect_close(const std::vector<float>& actual, const std::vector<float>& expected,
                         const std::function<double(size_t)>& bound, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_LE(std::abs(double{actual[i]} - expected[i]), bound(i))
        << what << " at " << i << ": " << actual[i] << ", expected " << expected[i];
  }
}

inline std::vector<float> random_values(size_t n, uint32_t seed, float spread = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(n);
  for (float& v : values) v = normal(generator);
  return values;
}

// Values that quantization can get wrong: halves between codes, zeros, a row of zeros, very small and very
// large ones.
inline std::vector<float> awkward_values(int64_t rows, int64_t cols) {
  std::vector<float> x = random_values(rows * cols, 11);
  for (int64_t r = 0; r < rows; ++r) {
    float* row = &x[r * cols];
    if (r % 4 == 1) {
      for (int64_t c = 0; c < cols; ++c) row[c] = 0.5f * static_cast<float>(c % 255 - 127);
      row[0] = 127.0f;  // the scale is 1: every other value is a tie
    } else if (r % 8 == 2) {
      std::fill(row, row + cols, 0.0f);
    } else if (r % 8 == 6) {
      for (int64_t c = 0; c < cols; ++c) row[c] *= c % 2 == 0 ? 1e-42f : 1e-39f;  // denormal
    } else if (r % 8 == 7) {
      for (int64_t c = 0; c < cols; ++c) row[c] *= c % 3 == 0 ? 1e30f : 1e-6f;
    }
  }
  return x;
}

}  // namespace octet
