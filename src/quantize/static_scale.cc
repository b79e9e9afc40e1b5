#include "quantize/static_scale.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "quantize/recipe.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

constexpr size_t kMostValues = size_t{1} << 18;  // that the mse observer looks at
constexpr int kClipSteps = 40;                   // a quarter of an octave each

// Around 0 where the input has no zero point.
ValueRange covered(const ValueRange& range, bool symmetric) {
  if (!symmetric) return range;
  const float most = std::max(-range.low, range.high);
  return {-most, most};
}

StaticScale scale_for(const ValueRange& range, const QuantArgs& input) {
  if (input.symmetric) return {weight_scale(range.high, input.type), 0};
  // -128 to 127, 0 exactly on a code.
  const float scale = weight_scale((range.high - range.low) * (kInt8Max / 255.0f), input.type);
  return {scale,
          static_cast<int32_t>(std::clamp(std::nearbyintf(-128.0f - range.low / scale), -128.0f, 127.0f))};
}

float through_grid(float x, const StaticScale& s, const QuantArgs& input) {
  if (input.type == QType::kFp8) return s.scale * e4m3_to_f32(f32_to_e4m3(x / s.scale));
  const float low = input.symmetric ? -127.0f : -128.0f, zero = static_cast<float>(s.zero_point);
  return s.scale * (std::clamp(std::nearbyintf(x / s.scale) + zero, low, 127.0f) - zero);
}

StaticScale least_squares(const TrialRows& rows, const ValueRange& whole, const QuantArgs& input) {
  const auto cols = static_cast<size_t>(rows.cols);
  std::vector<double> weight(static_cast<size_t>(rows.rows));
  for (size_t r = 0; r < weight.size(); ++r) {
    double squares = 0;
    for (size_t c = 0; c < cols; ++c)
      squares += static_cast<double>(rows.values[r * cols + c]) * rows.values[r * cols + c];
    weight[r] = squares > 0 ? 1 / squares : 0;
  }
  const size_t step = std::max<size_t>(1, rows.values.size() / kMostValues) | 1;  // odd: visits all columns
  StaticScale best;
  double best_error = -1;
  for (int i = 0; i < kClipSteps; ++i) {
    const float factor = std::exp2(-0.25f * static_cast<float>(i));
    const StaticScale scale = scale_for({whole.low * factor, whole.high * factor}, input);
    double error = 0;
    for (size_t at = 0; at < rows.values.size(); at += step) {
      const double difference =
          static_cast<double>(rows.values[at]) - through_grid(rows.values[at], scale, input);
      error += weight[at / cols] * difference * difference;
    }
    if (best_error >= 0 && error >= best_error) continue;
    best = scale;
    best_error = error;
  }
  return best;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g %%", 100 * share);
  return text;
}

}  // namespace

Result<Observer> parse_observer(const std::string& text) {
  if (text == "absmax") return Observer{Observer::kAbsmax};
  if (text == "mse") return Observer{Observer::kMse};
  if (text == "percentile") return Observer{Observer::kPercentile};
  if (text.starts_with("percentile:")) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str() + 11, &end);
    if (*end == 0 && value > 50 && value <= 100) return Observer{Observer::kPercentile, value};
  }
  return invalid_argument("--observer '" + text +
                          "': expected absmax, mse, percentile or percentile:99.9 (above 50)");
}

StaticScale choose_static_scale(const TrialRows& rows, const ValueRange& range, const QuantArgs& input,
                                const Observer& observer) {
  const ValueRange whole = covered(range, input.symmetric);
  if (observer.kind == Observer::kMse) return least_squares(rows, whole, input);
  if (observer.kind == Observer::kAbsmax) return scale_for(whole, input);
  std::vector<float> values = rows.values;
  const auto quantile = [&](double share) {
    const auto at = static_cast<ptrdiff_t>(std::llround(share * static_cast<double>(values.size() - 1)));
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return values[static_cast<size_t>(at)];
  };
  const double beyond = 1 - observer.percent / 100;
  if (!input.symmetric) {
    return scale_for({std::min(0.0f, quantile(beyond / 2)), std::max(0.0f, quantile(1 - beyond / 2))}, input);
  }
  for (float& v : values) v = std::fabs(v);
  const float high = quantile(1 - beyond);
  return scale_for({-high, high}, input);
}

std::string why_unsafe(const StaticCheck& check) {
  if (check.clipped > kMostClipped) return percent(check.clipped) + " of the values clip";
  if (check.worst_token > kMostTokenError) {
    return "a token's output is off by " + percent(std::sqrt(check.worst_token));
  }
  if (check.error > kMostError) return "the output is off by " + percent(std::sqrt(check.error));
  if (check.error > kMostTimesDynamic * check.error_dynamic) {
    return "the output error is " + std::to_string(static_cast<int>(check.error / check.error_dynamic)) +
           " times that of dynamic scales";
  }
  return "";
}

Result<StaticCheck> check_static_scale(Ops& ops, const TrialRows& x, const std::vector<float>& s,
                                       const HostLinear& w, const std::vector<float>& weight) {
  StaticCheck check;
  const float low_code = w.scheme.input.symmetric ? -127.0f : -128.0f;
  const float zero = w.input_zero_point.empty() ? 0.0f : static_cast<float>(w.input_zero_point[0]);
  const bool fp8 = w.scheme.input.type == QType::kFp8;
  int64_t clipped = 0;
  for (size_t i = 0; i < x.values.size(); ++i) {
    const float code = x.values[i] / (s.empty() ? 1.0f : s[i % s.size()]) / w.input_scale[0];
    const bool beyond =
        fp8 ? std::fabs(code) > kE4M3Max * 1.03125f  // what rounds to more than 448
            : std::nearbyintf(code) + zero > kInt8Max || std::nearbyintf(code) + zero < low_code;
    clipped += beyond ? 1 : 0;
  }
  check.clipped = static_cast<double>(clipped) / static_cast<double>(x.values.size());

  Trial trial(ops);
  const QuantArgs plain{QType::kBF16, QScale::kNone, false, true};
  OCTET_ASSIGN_OR_RETURN(const auto exact,
                         trial.product(x, {}, quantize_weight(weight, w.k, {plain, plain})));
  OCTET_ASSIGN_OR_RETURN(const auto fixed, trial.product(x, s, w));
  HostLinear dynamic = w;
  dynamic.scheme.input = {.type = w.scheme.input.type, .scale = QScale::kToken, .dynamic = true};
  OCTET_ASSIGN_OR_RETURN(const auto varying, trial.product(x, s, dynamic));
  check.error = relative_error(exact, fixed, x.rows);
  check.error_dynamic = relative_error(exact, varying, x.rows);
  const auto n = static_cast<ptrdiff_t>(w.n);
  for (ptrdiff_t row = 0; row < static_cast<ptrdiff_t>(x.rows); ++row) {
    const std::vector<float> a(exact.begin() + row * n, exact.begin() + (row + 1) * n);
    const std::vector<float> b(fixed.begin() + row * n, fixed.begin() + (row + 1) * n);
    check.worst_token = std::max(check.worst_token, relative_error(a, b, 1));
  }
  return check;
}

QuantScheme dynamic_instead(const QuantScheme& scheme) {
  QuantScheme dynamic = scheme;
  dynamic.weight.scale = QScale::kChannel;
  dynamic.input = {.type = scheme.input.type, .scale = QScale::kToken, .dynamic = true};
  return dynamic;
}

}  // namespace octet
