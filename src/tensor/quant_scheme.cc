#include "tensor/quant_scheme.h"

#include <array>

namespace octet {
namespace {

struct NamedScheme {
  const char* name;
  QuantScheme scheme;
};

constexpr QuantArgs plain(QType type) {
  return {type, QScale::kNone, false, true};
}
constexpr QuantArgs scaled(QType type, QScale scale, bool dynamic) {
  return {type, scale, dynamic, true};
}

constexpr std::array kSchemes = {
    NamedScheme{"bf16", {plain(QType::kBF16), plain(QType::kBF16)}},
    NamedScheme{"fp16", {plain(QType::kF16), plain(QType::kF16)}},
    NamedScheme{"f32", {plain(QType::kF32), plain(QType::kF32)}},
    NamedScheme{"int8-minmax",
                {scaled(QType::kInt8, QScale::kChannel, false), scaled(QType::kInt8, QScale::kToken, true)}},
    NamedScheme{"fp8",
                {scaled(QType::kFp8, QScale::kChannel, false), scaled(QType::kFp8, QScale::kToken, true)}},
};

constexpr std::array kCalibrated = {"int8", "int8-static", "fp8-static", "llm-int8"};

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
  }
  return "?";
}

std::string known_names() {
  std::string names;
  for (const auto& s : kSchemes) names += std::string(names.empty() ? "" : ", ") + s.name;
  return names;
}

}  // namespace

std::string to_string(const QuantArgs& args) {
  std::string text = type_name(args.type);
  if (args.scale != QScale::kNone) text += std::string("/") + scale_name(args.scale);
  if (args.dynamic) text += "/dynamic";
  if (!args.symmetric) text += "/asymmetric";
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
  }
  return 0;
}

Result<QuantScheme> scheme_by_name(const std::string& name) {
  for (const auto& s : kSchemes) {
    if (name == s.name) return s.scheme;
  }
  for (const char* calibrated : kCalibrated) {
    if (name == calibrated) {
      return unsupported("scheme '" + name +
                         "' needs calibration, which this build does not have yet; there are " +
                         known_names());
    }
  }
  return invalid_argument("unknown scheme '" + name + "'; there are " + known_names());
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const auto& s : kSchemes) names.emplace_back(s.name);
  return names;
}

std::string scheme_name(const QuantScheme& scheme) {
  for (const auto& s : kSchemes) {
    if (s.scheme == scheme) return s.name;
  }
  return to_string(scheme);
}

Result<KvQuant> kv_quant_by_name(const std::string& name, QType model_type) {
  if (name == "auto") return KvQuant{model_type == QType::kF16 ? QType::kF16 : QType::kBF16};
  if (name == "bf16") return KvQuant{QType::kBF16};
  if (name == "fp16") return KvQuant{QType::kF16};
  if (name == "int8") return KvQuant{QType::kInt8};
  if (name == "fp8") return KvQuant{QType::kFp8};
  return invalid_argument("unknown KV cache type '" + name + "'; there are auto, bf16, fp16, int8, fp8");
}

std::string to_string(const KvQuant& kv) {
  return type_name(kv.type);
}

}  // namespace octet
