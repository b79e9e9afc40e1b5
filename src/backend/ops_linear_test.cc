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

// A product, what the reference gives for it, and how far off a backend may be.
class Product {
 public:
  // fp8_sum_unit: see TestBackend.
  Product(const Ops& ops, const LinearCase& form, double fp8_sum_unit, int64_t rows, int64_t columns,
          int64_t depth)
      : c(form),
        m(rows),
        n(columns),
        k(depth),
        fp8_sum_unit_(fp8_sum_unit),
        x_(stored(ops, random_values(m * k, 6))),
        bias_(random_values(n, 8)),
        weight_(c.weight, n, k, random_values(n * k, 7)),
        reference_(make_reference_ops()),
        a_(*reference_, c.input, m, k) {
    quantize_input(*reference_, a_);
    const DeviceMatrix d(*reference_, m, n, DType::kF32);
    reference_->linear(a_.view(), *pack(*reference_), d.view());
    truth = d.host();
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t j = 0; j < n; ++j) error.push_back(error_of(r, j));
    }
  }

  std::unique_ptr<PackedLinear> pack(Ops& ops, bool gated = false) const {
    const LinearWeights weights{.n = n,
                                .k = k,
                                .scheme = {c.weight, c.input},
                                .data = weight_.codes.data(),
                                .scale = c.weight.quantized() ? weight_.scales.data() : nullptr,
                                .bias = bias_.data(),
                                .gated = gated};
    return std::move(ops.pack(weights)).value();
  }
  void quantize_input(Ops& ops, const DeviceQuantized& a) const {
    ops.quantize(DeviceMatrix(ops, m, k, x_).view(), a.view());
  }

  std::string name() const {
    return to_string(QuantScheme{c.weight, c.input}) + " " + std::to_string(m) + "x" + std::to_string(n) +
           "x" + std::to_string(k);
  }

  const LinearCase c;
  const int64_t m, n, k;
  std::vector<float> truth;   // [m, n]
  std::vector<double> error;  // [m, n] of a result before it is stored

 private:
  // One rounding each of an int8 sum, the scales, and the bias; of other
  // types, one for each of k terms as well, and the same for outliers.
  double error_of(int64_t r, int64_t j) const {
    const bool exact_sum = c.input.type == QType::kInt8 && c.input.outlier == 0;
    const double roundings = exact_sum ? 5 : static_cast<double>(k) + 8;
    const auto term = [&](int64_t e) {
      const double input = double{decode_unscaled(a_.view(), r, e)} * row_scale(a_.view(), r) +
                           decode_outlier(a_.view(), r, e);
      return input * weight_.value(j, e);
    };
    double magnitude = 0;
    for (int64_t e = 0; e < k; ++e) magnitude += std::abs(term(e));
    double error = roundings * kUnit * (magnitude + std::abs(bias_[j]));
    if (c.input.type == QType::kFp8 && c.weight.type == QType::kFp8)
      error += aligned_sum_error(k, fp8_sum_unit_, term);
    return error;
  }

  double fp8_sum_unit_;
  std::vector<float> x_, bias_;
  QuantizedWeight weight_;
  std::unique_ptr<Ops> reference_;
  DeviceQuantized a_;
};

// linear into results of this type, and linear_add, which also rounds the sum.
void check_linear(Ops& ops, const Product& p, DType result) {
  const auto packed = p.pack(ops);
  const DeviceQuantized a(ops, p.c.input, p.m, p.k);
  p.quantize_input(ops, a);
  const DeviceMatrix d(ops, p.m, p.n, result);
  ops.linear(a.view(), *packed, d.view());
  const auto bound = [&](size_t i) {
    const double error = p.error[i];
    return error + storing_error(result, std::abs(p.truth[i]) + error);
  };
  expect_close(d.host(), p.truth, bound, p.name());

  const std::vector<float> before = stored(result, random_values(p.m * p.n, 11));
  const DeviceMatrix sum(ops, p.m, p.n, result, before);
  ops.linear_add(a.view(), *packed, d.view(), sum.view());
  std::vector<float> truth = p.truth;
  for (size_t i = 0; i < truth.size(); ++i) truth[i] += before[i];
  expect_close(
      sum.host(), truth,
      [&](size_t i) {
        const double error = bound(i) + kUnit * std::abs(truth[i]);
        return error + storing_error(result, std::abs(truth[i]) + error);
      },
      "sum of " + p.name());
}

// linear_silu_mul: as a number, and that every form is that number encoded (where a backend fuses and a scale
// wants a whole row first, rounded to the activation type before). Where it fuses, gate and up are float32
// from the sums to the result; else they are stored in the activation type between two ops.
void check_silu(Ops& ops, const Product& p, bool fast_exp) {
  const int64_t cols = p.n / 2;
  const DType activation = ops.info().activation;
  const QuantArgs &weight = p.c.weight, &input = p.c.input;
  const bool fused = ops.info().fuses_silu_mul && weight.type == input.type && weight.type != QType::kF32 &&
                     input.outlier == 0 && p.n % 16 == 0 &&
                     p.k * static_cast<int64_t>(qtype_bytes(weight.type)) % 16 == 0;
  const auto packed = p.pack(ops, true);
  const DeviceQuantized a(ops, p.c.input, p.m, p.k, 0);
  p.quantize_input(ops, a);
  const DeviceMatrix scratch(ops, p.m, p.n), d(ops, p.m, cols, DType::kF32);
  ops.linear_silu_mul(a.view(), *packed, scratch.view(), d.as_f32());
  const DType between = fused ? DType::kF32 : activation;
  std::vector<float> truth(static_cast<size_t>(p.m * cols));
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  const auto at = [&](size_t i, int64_t half) {
    return static_cast<int64_t>(i) / cols * p.n + static_cast<int64_t>(i) % cols + half * cols;
  };
  for (size_t i = 0; i < truth.size(); ++i)
    truth[i] = static_cast<float>(silu(p.truth[at(i, 0)]) * p.truth[at(i, 1)]);
  const auto bound = [&](size_t i) {
    const double gate = p.truth[at(i, 0)], up = p.truth[at(i, 1)];
    const auto error = [&](int64_t half) {
      const auto from = static_cast<size_t>(at(i, half));
      const double e = p.error[from];
      return e + storing_error(between, std::abs(p.truth[from]) + e);
    };
    const double of_gate = error(0), of_up = error(1);
    // SiLU's slope is 1.1 at most: what errors of its operands make of silu(gate) * up.
    const double handed_on = 1.1 * of_gate * (std::abs(up) + of_up) + std::abs(silu(gate)) * of_up;
    // Its own roundings (RowOps.SiluMul), relative to what it gives, and one of `truth`.
    const double units = fast_exp ? 2 * (std::abs(gate) + of_gate) + 16 : 9.1;
    return handed_on + units * kUnit * (std::abs(truth[i]) + handed_on) + 1e-35;
  };
  const std::vector<float> actual = d.host();
  expect_close(actual, truth, bound, "silu of " + p.name());
  for (const ActivationForm& form : activation_forms()) {
    const DeviceQuantized out(ops, form.args, p.m, cols);
    ops.linear_silu_mul(a.view(), *packed, scratch.view(), out.view());
    const bool rounded = fused && form.args.quantized() && (form.args.dynamic || !form.args.symmetric);
    expect_encoded(rounded ? stored(activation, actual) : actual, out,
                   std::string(form.name) + " of " + p.name());
  }
}

TEST_P(LinearOps, AgreesWithTheReference) {
  const auto ops = make();
  const int64_t shapes[][3] = {
      {1, 5, 16},     {3, 33, 72},  {13, 64, 128},
      {40, 100, 200}, {2, 40, 333}, {9, 50, 1411}};  // several blocks of k, a last group of 3 columns
  for (const LinearCase& c : linear_cases()) {
    for (const auto& [m, n, k] : shapes) {
      const Product product(*ops, c, GetParam().fp8_sum_unit, m, n, k);
      for (const DType result : std::set<DType>{ops->info().activation, DType::kF32})
        check_linear(*ops, product, result);
    }
  }
}

TEST_P(LinearOps, EndsInSilu) {
  const auto ops = make();
  const int64_t shapes[][3] = {{1, 32, 16}, {13, 64, 128}, {130, 96, 80}, {5, 66, 72}, {2, 80, 333}};
  for (const LinearCase& c : linear_cases()) {
    for (const auto& [m, n, k] : shapes)
      check_silu(*ops, Product(*ops, c, GetParam().fp8_sum_unit, m, n, k), GetParam().fast_exp);
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
