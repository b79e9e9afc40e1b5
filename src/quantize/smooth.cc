#include "quantize/smooth.h"

#include <algorithm>
#include <cmath>

#include "quantize/recipe.h"
#include "tensor/quant_codec.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

constexpr float kCoarse[] = {0.3f, 0.5f, 0.7f, 0.9f};
constexpr float kFine[] = {0.1f, 0.05f};
constexpr float kMostAlpha = 1.001f;  // 1, however it was added up

float round_16(float v, QType type) {
  return type == QType::kF16 ? f16_to_f32(f32_to_f16(v)) : bf16_to_f32(f32_to_bf16(v));
}

std::vector<float> column_absmax(const Consumers& consumers) {
  const auto k = static_cast<size_t>(consumers.k);
  std::vector<float> most(k);
  for (const auto& weight : consumers.weights) {
    for (size_t i = 0; i < weight.size(); i += k) {
      for (size_t c = 0; c < k; ++c) most[c] = std::max(most[c], std::fabs(weight[i + c]));
    }
  }
  return most;
}

// x_absmax: by channel, before smoothing; used for static scales of the input alone.
HostLinear quantized(const std::vector<float>& weight, const Consumers& consumers,
                     const std::vector<float>& s, const QuantScheme& scheme,
                     const std::vector<float>& x_absmax) {
  std::vector<float> scaled = weight;
  if (!s.empty()) {
    for (size_t i = 0; i < scaled.size(); i += s.size()) {
      for (size_t c = 0; c < s.size(); ++c) scaled[i + c] *= s[c];
    }
  }
  HostLinear linear = quantize_weight(scaled, consumers.k, scheme);
  if (scheme.static_input()) {
    float largest = 0;
    for (size_t c = 0; c < x_absmax.size(); ++c)
      largest = std::max(largest, x_absmax[c] / (s.empty() ? 1.0f : s[c]));
    linear.input_scale = {weight_scale(largest, scheme.input.type)};
    if (!scheme.input.symmetric) linear.input_zero_point = {0};
  }
  return linear;
}

}  // namespace

Result<SmoothOptions> parse_alpha(const std::string& text) {
  if (text == "none") return SmoothOptions{SmoothOptions::kNone};
  if (text == "search") return SmoothOptions{SmoothOptions::kSearch};
  char* end = nullptr;
  const float alpha = std::strtof(text.c_str(), &end);
  if (!text.empty() && *end == 0 && alpha >= 0 && alpha <= 1)
    return SmoothOptions{SmoothOptions::kFixed, alpha};
  return invalid_argument("--alpha '" + text + "': expected search, none, or a number from 0 to 1");
}

std::vector<float> smoothing_scale(const std::vector<float>& x_size, const std::vector<float>& w_absmax,
                                   float alpha, const SmoothConstraint& constraint) {
  const bool shared = !constraint.source.empty();
  const auto source = [&](size_t c) { return shared ? static_cast<size_t>(constraint.source[c]) : c; };
  const size_t n = shared ? static_cast<size_t>(constraint.sources) : x_size.size();
  std::vector<float> x(n), w(n);
  for (size_t c = 0; c < x_size.size(); ++c) {
    x[source(c)] = std::max(x[source(c)], x_size[c]);
    w[source(c)] = std::max(w[source(c)], w_absmax[c]);
  }
  std::vector<double> logarithm(n);
  double mean = 0;
  int64_t active = 0;
  for (size_t i = 0; i < n; ++i) {
    if (x[i] <= 0 || w[i] <= 0) continue;
    logarithm[i] =
        alpha * std::log(static_cast<double>(x[i])) - (1.0 - alpha) * std::log(static_cast<double>(w[i]));
    mean += logarithm[i];
    ++active;
  }
  mean /= static_cast<double>(std::max<int64_t>(active, 1));
  std::vector<float> s(x_size.size(), 1.0f);
  for (size_t c = 0; c < s.size(); ++c) {
    const size_t i = source(c);
    if (x[i] > 0 && w[i] > 0) s[c] = static_cast<float>(std::exp(logarithm[i] - mean));
    if (constraint.gamma.empty()) continue;
    const float rounded = round_16(constraint.gamma[c] / s[c], constraint.gamma_type);
    s[c] = rounded != 0 && std::isfinite(rounded) ? constraint.gamma[c] / rounded : 1.0f;
  }
  return s;
}

Result<Smoothing> choose_smoothing(Ops& ops, const SmoothOptions& options,
                                   const std::vector<ChannelSizes>& sizes, const TrialRows& x,
                                   const Consumers& consumers, const SmoothConstraint& constraint) {
  Trial trial(ops);
  const QuantArgs plain{QType::kBF16, QScale::kNone, false, true};
  std::vector<std::vector<float>> exact;
  for (const auto& weight : consumers.weights) {
    OCTET_ASSIGN_OR_RETURN(auto y,
                           trial.product(x, {}, quantized(weight, consumers, {}, {plain, plain}, {})));
    exact.push_back(std::move(y));
  }
  const std::vector<float>& largest = sizes.front().values;
  const auto error_with = [&](const std::vector<float>& s) -> Result<double> {
    double error = 0;
    for (size_t i = 0; i < consumers.weights.size(); ++i) {
      OCTET_ASSIGN_OR_RETURN(
          const auto y,
          trial.product(x, s, quantized(consumers.weights[i], consumers, s, consumers.schemes[i], largest)));
      error += relative_error(exact[i], y, x.rows);
    }
    return error / static_cast<double>(consumers.weights.size());
  };

  Smoothing best;
  OCTET_ASSIGN_OR_RETURN(best.error_plain, error_with({}));
  best.error = best.error_plain;
  if (options.mode == SmoothOptions::kNone) return best;
  const std::vector<float> w_absmax = column_absmax(consumers);
  const bool search = options.mode == SmoothOptions::kSearch;
  const auto consider = [&](const ChannelSizes& size, float alpha) -> Status {
    auto s = smoothing_scale(size.values, w_absmax, alpha, constraint);
    OCTET_ASSIGN_OR_RETURN(const double error, error_with(s));
    if (search && error >= best.error) return {};
    best.alpha = alpha;
    best.size = size.name;
    best.s = std::move(s);
    best.error = error;
    return {};
  };
  if (!search) {
    OCTET_RETURN_IF_ERROR(consider(sizes.front(), options.alpha));
    return best;
  }
  for (const float alpha : kCoarse) {
    for (const auto& size : sizes) OCTET_RETURN_IF_ERROR(consider(size, alpha));
  }
  for (const float step : kFine) {  // around the best so far, of its kind
    if (!best.alpha) break;
    const auto size =
        std::find_if(sizes.begin(), sizes.end(), [&](const auto& s) { return s.name == best.size; });
    const float middle = *best.alpha;
    OCTET_RETURN_IF_ERROR(consider(*size, middle - step));
    if (middle + step <= kMostAlpha) OCTET_RETURN_IF_ERROR(consider(*size, middle + step));
  }
  return best;
}

}  // namespace octet
