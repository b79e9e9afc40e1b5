// linear against the reference: every form of the input, every kind of weight, ragged sizes.
#include <cstring>
#include <set>

#include "backend/ops_test_util.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

using LinearOps = OpsTest;

struct LinearCase {
  QuantArgs weight, input;
};
std::vector<LinearCase> linear_cases() {
  const QuantArgs int8_channel{QType::kInt8, QScale::kChannel}, fp8_channel{QType::kFp8, QScale::kChannel};
  const auto groups = [](QType type, int32_t size) {
    return QuantArgs{.type = type, .scale = QScale::kGroup, .group_size = size};
  };
  std::vector<LinearCase> cases;
  for (const ActivationForm& form : activation_forms()) {
    const QType type = form.args.type;
    cases.push_back({type == QType::kInt8  ? int8_channel
                     : type == QType::kFp8 ? fp8_channel
                                           : QuantArgs{type},
                     form.args});
  }
  for (const QType type : {QType::kInt8, QType::kFp8}) {
    cases.push_back({{type, QScale::kTensor}, {type, QScale::kTensor}});
    cases.push_back({{type, QScale::kTensor}, {type, QScale::kToken, true}});
  }
  for (const QType input : {QType::kBF16, QType::kF16}) {  // weights alone
    for (const QuantArgs& weight :
         {int8_channel, fp8_channel, QuantArgs{QType::kInt8, QScale::kTensor}, groups(QType::kInt4, 32),
          groups(QType::kInt4, 128), groups(QType::kInt8, 64), QuantArgs{QType::kInt4, QScale::kChannel}}) {
      cases.push_back({weight, {input}});
    }
  }
  return cases;
}

// A weight in its scheme's codes, [n, code_bytes(k)] without gaps, and its scales.
struct QuantizedWeight {
  QuantArgs args;
  int64_t k;
  std::vector<uint8_t> codes;
  std::vector<float> scales;

  QuantizedWeight(const QuantArgs& a, int64_t n, int64_t n_cols, const std::vector<float>& w)
      : args(a),
        k(n_cols),
        codes(static_cast<size_t>(n) * code_bytes(a.type, n_cols)),
        scales(static_cast<size_t>(scale_count(a, n, n_cols)), a.type == QType::kFp8 ? 0.0043f : 0.0171f) {
    quantize_rows(w.data(), n, k, args, codes.data(), scales.data());
  }
  double value(int64_t j, int64_t c) const {
    const double code =
        decode_code(codes.data() + static_cast<size_t>(j) * code_bytes(args.type, k), args.type, c);
    if (scales.empty()) return code;
    if (args.scale == QScale::kTensor) return code * scales[0];
    return code * scales[j * group_count(args, k) + (args.scale == QScale::kGroup ? c / args.group_size : 0)];
  }
};

// What a tensor core loses that adds 32 products and the sum before them after aligning all to the largest:
// up to `unit` of that one for each. `product(e)`: the products, in order.
template <class Product>
double aligned_sum_error(int64_t k, double unit, const Product& product) {
  constexpr int64_t kStep = 32;
  double error = 0, sum = 0;
  for (int64_t begin = 0; begin < k; begin += kStep) {
    double largest = std::abs(sum);
    for (int64_t e = begin; e < std::min(begin + kStep, k); ++e) {
      sum += product(e);
      largest = std::max({largest, std::abs(product(e)), std::abs(sum)});
    }
    error += static_cast<double>(kStep + 1) * unit * largest;
  }
  return error;
}

// fp8_sum_unit: see TestBackend.
void check_linear(Ops& ops, const LinearCase& c, DType result, double fp8_sum_unit, int64_t m, int64_t n,
                  int64_t k) {
  const auto reference = make_reference_ops();
  const std::vector<float> x = stored(ops, random_values(m * k, 6)), bias = random_values(n, 8);
  const QuantizedWeight weight(c.weight, n, k, random_values(n * k, 7));
  const LinearWeights weights{.n = n,
                              .k = k,
                              .scheme = {c.weight, c.input},
                              .data = weight.codes.data(),
                              .scale = c.weight.quantized() ? weight.scales.data() : nullptr,
                              .bias = bias.data()};
  const auto run = [&](Ops& backend) {
    const auto packed = std::move(backend.pack(weights)).value();
    const DeviceMatrix device_x(backend, m, k, x);
    const DeviceMatrix d(backend, m, n, &backend == &ops ? result : DType::kF32);
    const DeviceQuantized a(backend, c.input, m, k);
    backend.quantize(device_x.view(), a.view());
    backend.linear(a.view(), *packed, d.view());
    return d.host();
  };
  const std::vector<float> actual = run(ops), truth = run(*reference);

  const DeviceQuantized a(*reference, c.input, m, k);
  const DeviceMatrix device_x(*reference, m, k, x);
  reference->quantize(device_x.view(), a.view());
  // One rounding each of an int8 sum, the scales, and the bias; of other types, one for each of k terms as
  // well, and the same for outliers.
  const bool exact_sum = c.input.type == QType::kInt8 && c.input.outlier == 0;
  const double roundings = exact_sum ? 5 : static_cast<double>(k) + 8;
  const auto bound = [&](size_t i) {
    const auto r = static_cast<int64_t>(i) / n, j = static_cast<int64_t>(i) % n;
    const auto product = [&](int64_t e) {
      const double input =
          double{decode_unscaled(a.view(), r, e)} * row_scale(a.view(), r) + decode_outlier(a.view(), r, e);
      return input * weight.value(j, e);
    };
    double magnitude = 0;
    for (int64_t e = 0; e < k; ++e) magnitude += std::abs(product(e));
    double error = roundings * kUnit * (magnitude + std::abs(bias[j]));
    if (c.input.type == QType::kFp8 && c.weight.type == QType::kFp8)
      error += aligned_sum_error(k, fp8_sum_unit, product);
    return error + storing_error(result, std::abs(truth[i]) + error);
  };
  expect_close(actual, truth, bound,
               to_string(QuantScheme{c.weight, c.input}) + " " + std::to_string(m) + "x" + std::to_string(n) +
                   "x" + std::to_string(k));
}

TEST_P(LinearOps, AgreesWithTheReference) {
  const auto ops = make();
  for (const DType result : std::set<DType>{ops->info().activation, DType::kF32}) {
    for (const LinearCase& c : linear_cases()) {
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 1, 5, 16);
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 3, 33, 72);
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 13, 64, 128);
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 40, 100, 200);
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 2, 40, 333);
      check_linear(*ops, c, result, GetParam().fp8_sum_unit, 9, 50,
                   1411);  // several blocks of k, a last group of 3 columns
    }
  }
}

// Values that a backend quantizes while packing give the same products, bit by bit, as codes of
// quantize_rows.
TEST_P(LinearOps, PackQuantizesAsTheLoaderDoes) {
  const auto ops = make();
  if (!ops->info().quantizes_weights) GTEST_SKIP() << "this backend takes codes alone";
  for (const int64_t k : {72, 576, 1001}) {
    const int64_t n[] = {40, 0, 33}, n_all = 73, m = 5;
    for (const DType type : {DType::kBF16, DType::kF16, DType::kF32}) {
      std::vector<float> values = awkward_values(n_all, k);
      for (float& v : values) v = std::clamp(v, -60000.0f, 60000.0f);  // what f16 holds
      std::vector<uint8_t> raw(dtype_bytes(type, static_cast<size_t>(n_all * k)));
      const QType stored_type = type == DType::kF32   ? QType::kF32
                                : type == DType::kF16 ? QType::kF16
                                                      : QType::kBF16;
      quantize_rows(values.data(), n_all, k, {stored_type}, raw.data(), nullptr);
      for (int64_t i = 0; i < n_all * k; ++i) values[i] = decode_code(raw.data(), stored_type, i);
      for (const QuantArgs& weight :
           {QuantArgs{QType::kInt8, QScale::kChannel}, QuantArgs{QType::kFp8, QScale::kChannel},
            QuantArgs{QType::kBF16}, QuantArgs{QType::kF16}}) {
        const QuantizedWeight codes(weight, n_all, k, values);
        const QuantArgs input = weight.quantized() ? QuantArgs{weight.type, QScale::kToken, true} : weight;
        LinearWeights given{.n = n_all, .k = k, .scheme = {weight, input}, .data = codes.codes.data()};
        if (weight.quantized()) given.scale = codes.scales.data();
        LinearWeights made{.n = n_all, .k = k, .scheme = {weight, input}};
        const uint8_t* part = raw.data();
        for (const int64_t rows : n) {
          made.values.push_back({part, type, rows});
          part += dtype_bytes(type, static_cast<size_t>(rows * k));
        }
        const auto run = [&](const LinearWeights& weights) {
          const auto packed = std::move(ops->pack(weights)).value();
          const DeviceMatrix x(*ops, m, k, random_values(m * k, 6)), d(*ops, m, n_all, DType::kF32);
          const DeviceQuantized a(*ops, input, m, k);
          ops->quantize(x.view(), a.view());
          ops->linear(a.view(), *packed, d.view());
          return d.host();
        };
        EXPECT_EQ(run(made), run(given)) << to_string(weight) << " of " << dtype_name(type) << ", k " << k;
      }
    }
  }
}

// A row's bits do not depend on the rows beside it, nor on the threads: outliers of others included.
TEST_P(LinearOps, RowsAreIndependent) {
  const auto many = make(3), one = make(1);
  const int64_t rows = 135, n = 70, k = 700;
  const std::vector<float> x = stored(*one, random_values(rows * k, 9));
  for (const LinearCase& c : linear_cases()) {
    const bool exact_sum = c.input.type == QType::kInt8 && c.input.outlier == 0;
    if (!GetParam().batch_invariant && !exact_sum) continue;  // promised for the sums of int8 codes alone
    const QuantizedWeight weight(c.weight, n, k, random_values(n * k, 10));
    const LinearWeights weights{.n = n,
                                .k = k,
                                .scheme = {c.weight, c.input},
                                .data = weight.codes.data(),
                                .scale = c.weight.quantized() ? weight.scales.data() : nullptr};
    const auto run = [&](Ops& ops, int64_t first, int64_t m) {
      const auto packed = std::move(ops.pack(weights)).value();
      const DeviceMatrix device_x(ops, m, k, {x.begin() + first * k, x.begin() + (first + m) * k}),
          d(ops, m, n);
      const DeviceQuantized a(ops, c.input, m, k);
      ops.quantize(device_x.view(), a.view());
      ops.linear(a.view(), *packed, d.view());
      return d.host();
    };
    const std::vector<float> together = run(*many, 0, rows);
    for (const auto& [first, m] : {std::pair<int64_t, int64_t>{0, 1}, {60, 1}, {61, 5}, {100, 35}}) {
      const std::vector<float> alone = run(*one, first, m);
      EXPECT_EQ(std::memcmp(alone.data(), &together[first * n], alone.size() * sizeof(float)), 0)
          << to_string(QuantScheme{c.weight, c.input}) << ", rows from " << first << ", " << m;
    }
  }
}

OCTET_INSTANTIATE_OPS_TEST(LinearOps);

}  // namespace
}  // namespace octet
