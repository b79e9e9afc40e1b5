#include <regex>

#include "model/weights.h"

namespace octet {
namespace {

const QuantArgs kInt8Token{QType::kInt8, QScale::kToken, true, true};
const QuantArgs kFp8Token{QType::kFp8, QScale::kToken, true, true};

bool runnable(const QuantScheme& scheme) {
  const bool channel = scheme.weight.scale == QScale::kChannel && scheme.weight.symmetric;
  switch (scheme.weight.type) {
    case QType::kInt8:
      return channel && scheme.input == kInt8Token;
    case QType::kFp8:
      return channel && scheme.input == kFp8Token;
    default:
      return scheme.weight == scheme.input;
  }
}

QuantScheme plain_scheme(QType type) {
  const QuantArgs args{type, QScale::kNone, false, true};
  return {args, args};
}

// 16-bit layers run in the checkpoint's own type; a float32 checkpoint runs in bfloat16.
QuantScheme sixteen_bit(const Checkpoint& checkpoint) {
  return plain_scheme(checkpoint.config.dtype == QType::kF16 ? QType::kF16 : QType::kBF16);
}

Result<std::map<std::string, QuantScheme>> stored_schemes(const Checkpoint& checkpoint) {
  std::map<std::string, QuantScheme> schemes;
  auto modules = linear_modules(checkpoint.config);
  modules.emplace_back("lm_head");
  for (const auto& module : modules) {
    const auto stored = checkpoint.schemes.find(module);
    const QuantScheme scheme = stored != checkpoint.schemes.end() ? stored->second : sixteen_bit(checkpoint);
    if (!runnable(scheme)) {
      return unsupported(module + ": the checkpoint's scheme '" + to_string(scheme) +
                         "' needs calibrated scales, which this build does not run yet; it runs bf16, fp16, "
                         "int8 per channel x per token and fp8 per channel x per token");
    }
    schemes[module] = scheme;
  }
  return schemes;
}

Result<std::regex> compile(const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    return invalid_argument("--exclude '" + pattern + "' is not a regular expression: " + error.what());
  }
}

}  // namespace

QType plain_type(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes) {
  for (const auto& [module, scheme] : schemes) {
    if (!scheme.weight.quantized()) return scheme.weight.type;
  }
  return sixteen_bit(checkpoint).weight.type;
}

Result<std::map<std::string, QuantScheme>> assign_schemes(const Checkpoint& checkpoint,
                                                          const SchemeRequest& request) {
  if (request.scheme.empty()) {
    if (!request.exclude.empty() || request.quantize_head) {
      return invalid_argument("--exclude and --quantize-head go with --scheme");
    }
    return stored_schemes(checkpoint);
  }
  OCTET_ASSIGN_OR_RETURN(const QuantScheme wanted, scheme_by_name(request.scheme));
  OCTET_ASSIGN_OR_RETURN(auto schemes, stored_schemes(checkpoint));
  for (const auto& [module, scheme] : schemes) {
    if (scheme.weight.quantized()) {
      return invalid_argument(checkpoint.path + ": " + module + " is quantized already (" +
                              scheme_name(scheme) + "); --scheme needs a 16-bit checkpoint");
    }
  }
  OCTET_ASSIGN_OR_RETURN(const std::regex exclude, compile(request.exclude));
  const QuantScheme rest = wanted.weight.quantized() ? sixteen_bit(checkpoint) : wanted;
  bool any_excluded = false;
  for (auto& [module, scheme] : schemes) {
    const bool excluded = !request.exclude.empty() && std::regex_search(module, exclude);
    any_excluded = any_excluded || excluded;
    const bool is_head = module == "lm_head";
    scheme = excluded || (is_head && !request.quantize_head) ? rest : wanted;
  }
  if (!request.exclude.empty() && !any_excluded) {
    return invalid_argument("--exclude '" + request.exclude + "' matches no linear layer; names are like " +
                            schemes.begin()->first);
  }
  return schemes;
}

}  // namespace octet
