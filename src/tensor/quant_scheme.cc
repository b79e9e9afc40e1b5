#include "tensor/quant_scheme.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"

namespace octet {
namespace {

struct NamedScheme {
  const char* name;
  QuantScheme scheme;
  bool calibrated = false;
};

constexpr float kOutlier = 6.0f;  // Dettmers et al., "LLM.int8()" (2022)
constexpr int32_t kGroupSize = 128;

constexpr QuantArgs plain(QType type) {
  return {type, QScale::kNone, false, true};
}
constexpr QuantArgs fixed(QType type, QScale scale, bool symmetric = true) {
  return {type, scale, false, symmetric};
}
constexpr QuantArgs per_token(QType type, float outlier = 0) {
  return {.type = type, .scale = QScale::kToken, .dynamic = true, .outlier = outlier};
}
constexpr QuantArgs kInt8Channel = fixed(QType::kInt8, QScale::kChannel);
constexpr QuantArgs kFp8Channel = fixed(QType::kFp8, QScale::kChannel);
constexpr QuantArgs kInt4Group = {.type = QType::kInt4, .scale = QScale::kGroup, .group_size = kGroupSize};

// int8 stands behind int8-minmax: a checkpoint's representation does not tell whether its weights were
// smoothed.
constexpr std::array kSchemes = {
    NamedScheme{"bf16", {plain(QType::kBF16), plain(QType::kBF16)}},
    NamedScheme{"fp16", {plain(QType::kF16), plain(QType::kF16)}},
    NamedScheme{"f32", {plain(QType::kF32), plain(QType::kF32)}},
    NamedScheme{"int8-minmax", {kInt8Channel, per_token(QType::kInt8)}},
    NamedScheme{"int8", {kInt8Channel, per_token(QType::kInt8)}, true},
    NamedScheme{"int8-static", {kInt8Channel, fixed(QType::kInt8, QScale::kTensor)}, true},
    NamedScheme{"int8-static-asym", {kInt8Channel, fixed(QType::kInt8, QScale::kTensor, false)}, true},
    NamedScheme{"fp8", {kFp8Channel, per_token(QType::kFp8)}},
    NamedScheme{
        "fp8-static", {fixed(QType::kFp8, QScale::kTensor), fixed(QType::kFp8, QScale::kTensor)}, true},
    NamedScheme{"llm-int8", {kInt8Channel, per_token(QType::kInt8, kOutlier)}},
    NamedScheme{"w8a16", {kInt8Channel, plain(QType::kBF16)}},
    NamedScheme{"w8a16-fp8", {kFp8Channel, plain(QType::kBF16)}},
    NamedScheme{"w4a16", {kInt4Group, plain(QType::kBF16)}},
};

const char* type_name(QType type) {
  switch (type) {
    case QType::kF32:
      return "f32";
    case QType::kF16:
      return "fp16";
    case QType::kBF16:
      return "bf16";
    case QType::kInt8:
      return "int8";
    case QType::kFp8:
      return "fp8";
    case QType::kInt4:
      return "int4";
  }
  return "?";
}

const char* scale_name(QScale scale) {
  switch (scale) {
    case QScale::kNone:
      return "none";
    case QScale::kTensor:
      return "tensor";
    case QScale::kChannel:
      return "channel";
    case QScale::kToken:
      return "token";
    case QScale::kGroup:
      return "group";
  }
  return "?";
}

std::string known_names() {
  std::string names;
  for (const auto& s : kSchemes) names += std::string(names.empty() ? "" : ", ") + s.name;
  return names;
}

std::string number_text(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", static_cast<double>(value));
  return text;
}

const NamedScheme* find(const std::string& name) {
  for (const auto& s : kSchemes) {
    if (name == s.name) return &s;
  }
  return nullptr;
}

// "llm-int8:5.5", "w4a16:64": the scheme with its one number changed.
Result<QuantScheme> with_parameter(const NamedScheme& named, const std::string& text) {
  QuantScheme scheme = named.scheme;
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  const bool is_number = end != text.c_str() && *end == '\0' && std::isfinite(value);
  if (scheme.input.outlier > 0) {
    if (!is_number || value <= 0) {
      return invalid_argument("scheme '" + std::string(named.name) + ":" + text +
                              "': expected the magnitude from which values stay 16 bit, such as llm-int8:6");
    }
    scheme.input.outlier = value;
    return scheme;
  }
  if (scheme.weight.scale == QScale::kGroup) {
    const auto size = static_cast<int32_t>(value);
    if (!is_number || static_cast<float>(size) != value || size < 32 || size > 4096 || size % 32 != 0) {
      return invalid_argument("scheme '" + std::string(named.name) + ":" + text +
                              "': expected a group size, a multiple of 32 such as w4a16:64");
    }
    scheme.weight.group_size = size;
    return scheme;
  }
  return invalid_argument("scheme '" + std::string(named.name) + "' takes no number after a colon");
}

Status check_weight(const QuantArgs& w) {
  if (!w.quantized())
    return w.scale == QScale::kNone ? Status() : unsupported("16-bit weights have no scales");
  if (!w.symmetric) return unsupported("weights with zero points are not supported");
  if (w.dynamic) return unsupported("weights with dynamic scales are not supported");
  if (w.scale == QScale::kGroup) {
    if (w.type == QType::kFp8) return unsupported("fp8 weights have a scale for each channel or one in all");
    return w.group_size > 0 && w.group_size % 32 == 0
               ? Status()
               : unsupported("groups of " + std::to_string(w.group_size) +
                             " columns; expected a multiple of 32");
  }
  if (w.scale == QScale::kChannel || (w.scale == QScale::kTensor && w.type != QType::kInt4)) return {};
  return unsupported("weights of type " + to_string(w) + " do not exist");
}

Status check_input(const QuantArgs& a) {
  if (!a.quantized())
    return a.scale == QScale::kNone ? Status() : unsupported("16-bit inputs have no scales");
  if (a.type == QType::kInt4) return unsupported("4-bit inputs are not supported");
  if (a.type == QType::kFp8 && !a.symmetric) return unsupported("fp8 inputs have no zero point");
  if (a.type == QType::kFp8 && a.outlier > 0) return unsupported("outliers are kept apart from int8 only");
  const bool per_token = a.scale == QScale::kToken && a.dynamic && a.symmetric;
  const bool per_tensor = a.scale == QScale::kTensor && !a.dynamic && a.outlier == 0 && a.absmax_limit == 0;
  if (per_token || per_tensor) return {};
  return unsupported("8-bit inputs have dynamic symmetric scales per token, or static ones per tensor");
}

}  // namespace

std::string to_string(const QuantArgs& args) {
  std::string text = type_name(args.type);
  if (args.scale != QScale::kNone) text += std::string("/") + scale_name(args.scale);
  if (args.scale == QScale::kGroup) text += std::to_string(args.group_size);
  if (args.dynamic) text += "/dynamic";
  if (!args.symmetric) text += "/asymmetric";
  if (args.outlier > 0) text += "/outliers from " + number_text(args.outlier);
  if (args.absmax_limit > 0) text += "/up to " + number_text(args.absmax_limit);
  return text;
}

std::string to_string(const QuantScheme& scheme) {
  return "w:" + to_string(scheme.weight) + " a:" + to_string(scheme.input);
}

size_t qtype_bytes(QType type) {
  switch (type) {
    case QType::kF32:
      return 4;
    case QType::kF16:
    case QType::kBF16:
      return 2;
    case QType::kInt8:
    case QType::kFp8:
      return 1;
    case QType::kInt4:
      break;
  }
  OCTET_CHECK(false) << "a code of int4 has no bytes of its own";
  return 0;
}

size_t code_bytes(QType type, int64_t k) {
  if (type == QType::kInt4) return static_cast<size_t>((k + 1) / 2);
  return static_cast<size_t>(k) * qtype_bytes(type);
}

int64_t group_count(const QuantArgs& weight, int64_t k) {
  return weight.scale == QScale::kGroup ? (k + weight.group_size - 1) / weight.group_size : 1;
}

int64_t scale_count(const QuantArgs& weight, int64_t n, int64_t k) {
  if (!weight.quantized()) return 0;
  return weight.scale == QScale::kTensor ? 1 : n * group_count(weight, k);
}

Status check_scheme(const QuantScheme& scheme) {
  const auto check = [&]() -> Status {
    OCTET_RETURN_IF_ERROR(check_weight(scheme.weight));
    OCTET_RETURN_IF_ERROR(check_input(scheme.input));
    if (!scheme.weight.quantized() && scheme.weight.type != scheme.input.type) {
      return unsupported("16-bit weights are multiplied with inputs of their own type");
    }
    if (scheme.weight.quantized() && scheme.input.type == QType::kF32) {
      return unsupported("quantized weights are multiplied with inputs of 8 or 16 bits");
    }
    if (!scheme.input.quantized()) return {};
    if (scheme.weight.type != scheme.input.type) {
      return unsupported("8-bit inputs are multiplied with weights of their own type");
    }
    return scheme.weight.scale != QScale::kGroup
               ? Status()
               : unsupported("weights with a scale for each group are multiplied with 16-bit inputs");
  };
  return check().with_context("scheme " + to_string(scheme));
}

Result<QuantScheme> scheme_by_name(const std::string& name) {
  if (const auto* named = find(name)) return named->scheme;
  const size_t colon = name.find(':');
  if (colon != std::string::npos) {
    if (const auto* named = find(name.substr(0, colon)))
      return with_parameter(*named, name.substr(colon + 1));
  }
  return invalid_argument("unknown scheme '" + name + "'; there are " + known_names());
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const auto& s : kSchemes) names.emplace_back(s.name);
  return names;
}

bool scheme_is_calibrated(const std::string& name) {
  const auto* named = find(name);
  return named != nullptr && named->calibrated;
}

std::string scheme_name(const QuantScheme& scheme, bool smoothed) {
  QuantScheme usual = scheme;  // with the numbers that the names stand for
  if (usual.input.outlier > 0) usual.input.outlier = kOutlier;
  if (usual.weight.scale == QScale::kGroup) usual.weight.group_size = kGroupSize;
  if (usual.weight.quantized() && usual.input.type == QType::kF16) usual.input.type = QType::kBF16;
  for (const auto& s : kSchemes) {
    if (s.scheme != usual) continue;
    std::string name = s.name;
    if (smoothed && name == "int8-minmax") return "int8";
    if (scheme.input.outlier != usual.input.outlier) name += ":" + number_text(scheme.input.outlier);
    if (scheme.weight.group_size != usual.weight.group_size) {
      name += ":" + std::to_string(scheme.weight.group_size);
    }
    return name;
  }
  return to_string(scheme);
}

Result<KvQuant> kv_quant_by_name(const std::string& name, QType model_type) {
  if (name == "auto") return KvQuant{model_type == QType::kF16 ? QType::kF16 : QType::kBF16};
  if (name == "bf16") return KvQuant{QType::kBF16};
  if (name == "fp16") return KvQuant{QType::kF16};
  if (name == "f32") return KvQuant{QType::kF32};
  if (name == "int8") return KvQuant{QType::kInt8};
  if (name == "fp8") return KvQuant{QType::kFp8};
  return invalid_argument("unknown KV cache type '" + name + "'; there are auto, bf16, fp16, int8, fp8");
}

std::string to_string(const KvQuant& kv) {
  if (kv.dynamic) return type_name(kv.type);
  return std::string(type_name(kv.type)) + (kv.per_head ? "/head" : "/tensor") + "/static";
}

}  // namespace octet
