// Every kernel that this CPU can run, against products of the dequantized operands in double.
#include "backend/cpu/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tensor/quant_codec.h"

namespace octet {
namespace {

constexpr double kEps = 0x1p-24;  // relative error of one float rounding

QuantArgs args(QType type, QScale scale = QScale::kNone, bool dynamic = false, bool symmetric = true) {
  return {type, scale, dynamic, symmetric};
}

struct NamedScheme {
  const char* name;
  QuantScheme scheme;
};

std::vector<NamedScheme> int8_schemes() {
  return {
      {"int8_channel_token",
       {args(QType::kInt8, QScale::kChannel), args(QType::kInt8, QScale::kToken, true)}},
      {"int8_tensor_tensor", {args(QType::kInt8, QScale::kTensor), args(QType::kInt8, QScale::kTensor)}},
      {"int8_channel_asymmetric",
       {args(QType::kInt8, QScale::kChannel), args(QType::kInt8, QScale::kTensor, false, false)}},
  };
}

std::vector<NamedScheme> float_schemes() {
  return {
      {"f32", {args(QType::kF32), args(QType::kF32)}},
      {"f16", {args(QType::kF16), args(QType::kF16)}},
      {"bf16", {args(QType::kBF16), args(QType::kBF16)}},
      {"fp8_channel_token", {args(QType::kFp8, QScale::kChannel), args(QType::kFp8, QScale::kToken, true)}},
      {"fp8_tensor_tensor", {args(QType::kFp8, QScale::kTensor), args(QType::kFp8, QScale::kTensor)}},
  };
}

// A matrix of codes, in a buffer that ends with its last value.
struct Codes {
  QType type;
  int64_t rows, cols;
  std::vector<uint8_t> bytes;

  Codes(QType t, int64_t r, int64_t c)
      : type(t), rows(r), cols(c), bytes(static_cast<size_t>(r * c) * qtype_bytes(t)) {}

  void set(int64_t i, int64_t j, float value) {
    const auto at = static_cast<size_t>(i * cols + j);
    if (type == QType::kF32) reinterpret_cast<float*>(bytes.data())[at] = value;
    if (type == QType::kF16) reinterpret_cast<uint16_t*>(bytes.data())[at] = f32_to_f16(value);
    if (type == QType::kBF16) reinterpret_cast<uint16_t*>(bytes.data())[at] = f32_to_bf16(value);
    if (type == QType::kInt8) bytes[at] = static_cast<uint8_t>(static_cast<int>(value));
    if (type == QType::kFp8) bytes[at] = f32_to_e4m3(value);
  }
  double get(int64_t i, int64_t j) const {
    const auto at = static_cast<size_t>(i * cols + j);
    if (type == QType::kF32) return reinterpret_cast<const float*>(bytes.data())[at];
    if (type == QType::kF16) return f16_to_f32(reinterpret_cast<const uint16_t*>(bytes.data())[at]);
    if (type == QType::kBF16) return bf16_to_f32(reinterpret_cast<const uint16_t*>(bytes.data())[at]);
    if (type == QType::kInt8) return static_cast<int8_t>(bytes[at]);
    return e4m3_to_f32(bytes[at]);
  }
  void fill(std::mt19937& random) {
    std::uniform_int_distribution<int> code(-128, 127);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        if (type == QType::kFp8) {  // any code but NaN
          const int c = code(random);
          bytes[static_cast<size_t>(i * cols + j)] = static_cast<uint8_t>((c & 0x7f) == 0x7f ? 0 : c);
        } else {
          set(i, j, type == QType::kInt8 ? static_cast<float>(code(random)) : normal(random));
        }
      }
    }
  }
};

// One linear layer with its inputs, and what its results must be.
struct Layer {
  QuantScheme scheme;
  Codes a, w;
  std::vector<float> a_scale, w_scale, bias;
  std::vector<int32_t> a_zero;

  Layer(const QuantScheme& s, int64_t m, int64_t n, int64_t k, bool with_bias, unsigned seed = 1)
      : scheme(s), a(s.input.type, m, k), w(s.weight.type, n, k) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> scale(0.001f, 0.1f);
    std::uniform_int_distribution<int32_t> zero(-128, 127);
    a.fill(random);
    w.fill(random);
    const int64_t a_scales = s.input.scale == QScale::kToken ? m : 1;
    const int64_t w_scales = s.weight.scale == QScale::kChannel ? n : 1;
    for (int64_t i = 0; i < a_scales; ++i) a_scale.push_back(scale(random));
    for (int64_t i = 0; i < a_scales; ++i) a_zero.push_back(zero(random));
    for (int64_t j = 0; j < w_scales; ++j) w_scale.push_back(scale(random));
    for (int64_t j = 0; with_bias && j < n; ++j) bias.push_back(scale(random) * 10);
  }

  std::unique_ptr<PackedLinear> pack(Isa isa, ThreadPool& pool) const {
    LinearWeights weights;
    weights.n = w.rows;
    weights.k = w.cols;
    weights.scheme = scheme;
    weights.data = w.bytes.data();
    weights.scale = scheme.weight.quantized() ? w_scale.data() : nullptr;
    weights.bias = bias.empty() ? nullptr : bias.data();
    HugePages memory;  // its chunk lives on in the layer
    auto packed = pack_linear(weights, isa, pool, memory);
    EXPECT_TRUE(packed.ok()) << packed.status().message();
    return std::move(*packed);
  }

  // Rows [row, row + m) as a view.
  QView inputs(int64_t row, int64_t m) {
    QView v;
    v.data = a.bytes.data() + static_cast<size_t>(row * a.cols) * qtype_bytes(a.type);
    v.args = scheme.input;
    v.rows = m;
    v.cols = v.stride = a.cols;
    const int64_t at = scheme.input.scale == QScale::kToken ? row : 0;
    if (scheme.input.quantized()) v.scale = a_scale.data() + at;
    if (!scheme.input.symmetric) v.zero_point = a_zero.data() + at;
    return v;
  }

  double scale(int64_t i, int64_t j) const {
    if (!scheme.weight.quantized()) return 1;
    return static_cast<double>(a_scale[a_scale.size() == 1 ? 0 : static_cast<size_t>(i)]) *
           static_cast<double>(w_scale[w_scale.size() == 1 ? 0 : static_cast<size_t>(j)]);
  }
  double zero(int64_t i) const {
    return scheme.input.symmetric ? 0 : a_zero[a_zero.size() == 1 ? 0 : static_cast<size_t>(i)];
  }
};

// Results of rows [row, row + m); CHECKs that nothing beyond them is written.
std::vector<float> run(Layer& layer, const PackedLinear& packed, int64_t row, int64_t m, ThreadPool& pool) {
  constexpr float kGuard = 12345;
  const int64_t n = packed.n, stride = n + 3;
  std::vector<float> padded(static_cast<size_t>(m * stride), kGuard), d;
  linear(layer.inputs(row, m), packed, {padded.data(), DType::kF32, m, n, stride}, pool);
  for (int64_t i = 0; i < m; ++i) {
    const auto begin = padded.begin() + i * stride;
    d.insert(d.end(), begin, begin + n);
    for (int64_t j = n; j < stride; ++j) EXPECT_EQ(begin[j], kGuard) << "row " << i;
  }
  return d;
}

// int8: the sum is exact, and so its value as double; what remains are the roundings to float of the sum, of
// the product of the scales, of their product, and of the addition of the bias.
// Others: k products summed one by one in float (products of 8 and 16 bit values are exact or rounded once).
void expect_close(const Layer& layer, const std::vector<float>& d) {
  const int64_t m = layer.a.rows, n = layer.w.rows, k = layer.a.cols;
  const bool exact = layer.scheme.weight.type == QType::kInt8;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double dot = 0, magnitude = 0;
      for (int64_t x = 0; x < k; ++x) {
        const double product = (layer.a.get(i, x) - layer.zero(i)) * layer.w.get(j, x);
        dot += product;
        magnitude += std::abs(product);
      }
      const double bias = layer.bias.empty() ? 0 : layer.bias[static_cast<size_t>(j)];
      const double want = dot * layer.scale(i, j) + bias;
      const double sums =
          exact ? std::abs(dot) : (2.0 * static_cast<double>(k) + 1) * magnitude + std::abs(dot);
      const double bound =
          kEps * (4 * std::abs(dot) + sums) * layer.scale(i, j) + kEps * (std::abs(want) + std::abs(bias));
      const double got = d[static_cast<size_t>(i * n + j)];
      ASSERT_LE(std::abs(got - want), bound)
          << "row " << i << " column " << j << ": " << got << ", not " << want;
    }
  }
}

class LinearTest : public testing::TestWithParam<std::tuple<Isa, NamedScheme>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  const QuantScheme& scheme() const { return std::get<1>(GetParam()).scheme; }
  ThreadPool pool_{2};
};

TEST_P(LinearTest, EqualsDequantizedOperands) {
  const int64_t shapes[][3] = {{1, 1, 1},     {1, 192, 576}, {2, 16, 2},    {3, 7, 5},    {4, 24, 3},
                               {5, 25, 4},    {6, 47, 63},   {7, 48, 64},   {8, 49, 65},  {9, 96, 1537},
                               {16, 64, 576}, {17, 50, 577}, {129, 30, 66}, {300, 26, 9}, {1, 97, 4099}};
  for (const auto& [m, n, k] : shapes) {
    SCOPED_TRACE(testing::Message() << "m " << m << " n " << n << " k " << k);
    Layer layer(scheme(), m, n, k, (m + n) % 2 == 0);
    const auto packed = layer.pack(isa(), pool_);
    expect_close(layer, run(layer, *packed, 0, m, pool_));
    if (HasFatalFailure()) return;
  }
}

TEST_P(LinearTest, RowIsBitEqualAloneAndInAnyBatch) {
  constexpr int64_t kRows = 131, kN = 75, kK = 1213;
  Layer layer(scheme(), kRows, kN, kK, true);
  ThreadPool one(1), three(3);
  const auto packed = layer.pack(isa(), pool_);
  const std::vector<float> all = run(layer, *packed, 0, kRows, three);
  for (int64_t m = 1; m <= 18; ++m) {  // every height of tile, and pairs of them
    const int64_t row = kRows - m;
    const std::vector<float> some = run(layer, *packed, row, m, m % 2 == 0 ? one : pool_);
    ASSERT_EQ(std::memcmp(some.data(), all.data() + row * kN, some.size() * sizeof(float)), 0) << "m " << m;
  }
}

class FloatLinearTest : public LinearTest {};

TEST_P(FloatLinearTest, NanAndInfinityStayInTheirRow) {
  constexpr int64_t kRows = 9, kN = 50, kK = 70;
  Layer layer(scheme(), kRows, kN, kK, false);
  const auto packed = layer.pack(isa(), pool_);
  const std::vector<float> before = run(layer, *packed, 0, kRows, pool_);
  layer.a.set(4, kK - 1, std::numeric_limits<float>::quiet_NaN());
  layer.a.set(6, 0, std::numeric_limits<float>::infinity());  // saturates in fp8
  const std::vector<float> after = run(layer, *packed, 0, kRows, pool_);
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      const float value = after[static_cast<size_t>(i * kN + j)];
      if (i == 4) {
        EXPECT_TRUE(std::isnan(value)) << "column " << j;
      } else if (i != 6) {
        EXPECT_EQ(value, before[static_cast<size_t>(i * kN + j)]) << "row " << i;
      } else if (scheme().input.type != QType::kFp8) {
        EXPECT_FALSE(std::isfinite(value)) << "column " << j;
      }
    }
  }
}

std::string test_name(const testing::TestParamInfo<std::tuple<Isa, NamedScheme>>& info) {
  return std::string(isa_name(std::get<0>(info.param))) + "_" + std::get<1>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Int8, LinearTest,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::ValuesIn(int8_schemes())),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Float, LinearTest,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::ValuesIn(float_schemes())),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Float, FloatLinearTest,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::ValuesIn(float_schemes())),
                         test_name);

class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  ThreadPool pool_{2};
};

INSTANTIATE_TEST_SUITE_P(Isas, IsaTest, testing::ValuesIn(supported_isas()),
                         [](const auto& info) { return isa_name(info.param); });

// The extremes: 16-bit or saturating intermediate sums would show here.
TEST_P(IsaTest, Int8IsExactAtTheExtremes) {
  const QuantScheme scheme = {args(QType::kInt8, QScale::kChannel),
                              args(QType::kInt8, QScale::kTensor, false, false)};
  for (const float a : {-128.f, 127.f}) {
    for (const float w : {-128.f, 127.f}) {
      Layer layer(scheme, 5, 49, 65536, false);
      for (int64_t j = 0; j < layer.a.cols; ++j) {
        for (int64_t i = 0; i < layer.a.rows; ++i) layer.a.set(i, j, a);
        for (int64_t i = 0; i < layer.w.rows; ++i) layer.w.set(i, j, w);
      }
      layer.a_zero[0] = a < 0 ? 127 : -128;
      layer.a_scale[0] = 1;
      layer.w_scale.assign(layer.w_scale.size(), 1);
      const auto packed = layer.pack(GetParam(), pool_);
      const auto want = static_cast<float>((a - static_cast<float>(layer.a_zero[0])) * w * 65536);
      for (const float got : run(layer, *packed, 0, 5, pool_)) ASSERT_EQ(got, want) << a << " times " << w;
    }
  }
}

// Each of the 256 codes on either side times 1 is its value, NaN included.
TEST_P(IsaTest, EveryE4M3CodeHasItsValue) {
  const QuantScheme scheme = {args(QType::kFp8, QScale::kTensor), args(QType::kFp8, QScale::kTensor)};
  constexpr int64_t kCodes = 256;
  for (const bool codes_are_weights : {false, true}) {
    Layer layer(scheme, codes_are_weights ? 1 : kCodes, codes_are_weights ? kCodes : 1, 3, false);
    layer.a_scale = layer.w_scale = {1};
    Codes& codes = codes_are_weights ? layer.w : layer.a;
    Codes& ones = codes_are_weights ? layer.a : layer.w;
    for (int64_t j = 0; j < 3; ++j) ones.set(0, j, 1);
    for (int64_t i = 0; i < kCodes; ++i) {
      for (int64_t j = 0; j < 3; ++j)
        codes.bytes[static_cast<size_t>(i * 3 + j)] = j == 1 ? static_cast<uint8_t>(i) : 0;
    }
    const auto packed = layer.pack(GetParam(), pool_);
    const std::vector<float> d = run(layer, *packed, 0, layer.a.rows, pool_);
    for (int code = 0; code < kCodes; ++code) {
      const float got = d[static_cast<size_t>(code)], want = e4m3_to_f32(static_cast<uint8_t>(code));
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(got)) << "code " << code;
      } else {
        EXPECT_EQ(got, want) << "code " << code;
      }
    }
  }
}

TEST(PackLinearTest, NamesWhatItCannotDo) {
  ThreadPool pool(1);
  HugePages memory;
  const int8_t data[4] = {};
  const float scale[2] = {1, 1};
  LinearWeights weights;
  weights.n = weights.k = 2;
  weights.data = data;
  weights.scale = scale;
  weights.scheme = {args(QType::kInt8, QScale::kChannel), args(QType::kFp8, QScale::kToken, true)};
  auto mixed = pack_linear(weights, Isa::kGeneric, pool, memory);
  EXPECT_EQ(mixed.status().code(), StatusCode::kUnsupported);

  weights.scheme = {args(QType::kInt8, QScale::kChannel, false, false),
                    args(QType::kInt8, QScale::kToken, true)};
  EXPECT_EQ(pack_linear(weights, Isa::kGeneric, pool, memory).status().code(), StatusCode::kUnsupported);

  weights.scheme = {args(QType::kInt8, QScale::kChannel), args(QType::kInt8, QScale::kToken, true)};
  weights.k = 65537;
  auto long_k = pack_linear(weights, Isa::kGeneric, pool, memory);
  EXPECT_EQ(long_k.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(long_k.status().message().find("65537"), std::string::npos) << long_k.status().message();
}

TEST(HugePagesTest, PiecesAreAlignedDisjointAndOutliveTheirSource) {
  std::vector<std::pair<std::shared_ptr<char>, size_t>> pieces;
  {
    HugePages memory;
    for (const size_t bytes :
         {size_t{1}, size_t{100}, size_t{15} << 20, size_t{40} << 20, size_t{15} << 20}) {
      pieces.emplace_back(memory.allocate(bytes), bytes);
    }
  }
  char mark = 0;
  for (const auto& [piece, bytes] : pieces) {
    ASSERT_NE(piece, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece.get()) % 64, 0u);
    std::memset(piece.get(), ++mark, bytes);
  }
  mark = 0;
  for (const auto& [piece, bytes] : pieces) {
    ++mark;
    EXPECT_TRUE(piece.get()[0] == mark && piece.get()[bytes - 1] == mark) << "piece of " << bytes << " bytes";
  }
}

TEST(IsaNameTest, FindsWhatIsThere) {
  EXPECT_EQ(*isa_by_name("auto"), best_isa());
  EXPECT_EQ(*isa_by_name("generic"), Isa::kGeneric);
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    const auto isas = supported_isas();
    const bool there = std::find(isas.begin(), isas.end(), isa) != isas.end();
    EXPECT_EQ(isa_by_name(isa_name(isa)).ok(), there);
  }
  EXPECT_EQ(isa_by_name("sse9").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace octet
