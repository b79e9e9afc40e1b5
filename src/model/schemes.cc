// Which scheme each linear module runs in: what the checkpoint says, or what the user asks for.
#include "formats/module_matcher.h"
#include "model/weights.h"

namespace octet {
namespace {

constexpr int32_t kSmallestGroup = 32;

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
    OCTET_RETURN_IF_ERROR(check_scheme(scheme).with_context(module));
    schemes[module] = scheme;
  }
  return schemes;
}

// A scheme as one module takes it: 16-bit inputs beside quantized weights are of the checkpoint's type, and
// groups that do not fit into a row a whole number of times are halved until they do, or are the whole row
// where none of 32 columns or more does: others load nothing else.
QuantScheme fitted(QuantScheme scheme, const Checkpoint& checkpoint, const std::string& module) {
  if (scheme.weight.quantized() && !scheme.input.quantized()) scheme.input = sixteen_bit(checkpoint).input;
  if (scheme.weight.scale != QScale::kGroup) return scheme;
  const int64_t k = linear_shape(checkpoint.config, module).second;
  int32_t size = scheme.weight.group_size;
  while (k % size != 0 && size % (2 * kSmallestGroup) == 0) size /= 2;
  scheme.weight.group_size = size;
  if (k % size != 0) {
    scheme.weight.scale = QScale::kChannel;
    scheme.weight.group_size = 0;
  }
  return scheme;
}

struct Rule {
  std::string text;  // as the user wrote it
  ModuleRegex regex;
  QuantScheme scheme;
  bool used = false;
};

Result<ModuleRegex> compile(const std::string& option, const std::string& pattern) {
  auto regex = ModuleRegex::compile(pattern, /*anchored=*/false);
  if (!regex.ok()) return regex.status().with_context(option);
  return regex;
}

Result<QuantScheme> usable_scheme(const std::string& name, const SchemeRequest& request) {
  OCTET_ASSIGN_OR_RETURN(const QuantScheme scheme, scheme_by_name(name));
  if (scheme_is_calibrated(name) && !request.calibrated && !request.random) {
    return unsupported("scheme '" + name +
                       "' needs calibration, which loading does not do: run `octet quantize MODEL"
                       " --scheme " +
                       name + " -o OUT` and give OUT without --scheme");
  }
  return scheme;
}

Result<std::vector<Rule>> override_rules(const SchemeRequest& request) {
  std::vector<Rule> rules;
  for (const auto& text : request.overrides) {
    const std::string option = "--override '" + text + "'";
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      return invalid_argument(option + ": expected REGEX=SCHEME, such as 'down_proj=fp8'");
    }
    OCTET_ASSIGN_OR_RETURN(auto regex, compile(option, text.substr(0, equals)));
    auto scheme = usable_scheme(text.substr(equals + 1), request);
    if (!scheme.ok()) return scheme.status().with_context(option);
    rules.push_back({option, std::move(regex), *scheme});
  }
  return rules;
}

Status check_unquantized(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes,
                         const QuantScheme& wanted, const std::string& wanted_name) {
  for (const auto& [module, scheme] : schemes) {
    if (!scheme.weight.quantized()) continue;
    const std::string where = checkpoint.path + ": " + module + " is quantized already (" +
                              scheme_name(scheme, checkpoint.smoothed()) + ")";
    if (scheme == fitted(wanted, checkpoint, module)) {
      return invalid_argument(where + ", which is what --scheme " + wanted_name + " asks for: leave it out");
    }
    return invalid_argument(where + "; --scheme needs a 16-bit checkpoint");
  }
  return {};
}

Status unmatched(const std::string& option, const std::map<std::string, QuantScheme>& schemes) {
  const auto& [name, scheme] = *schemes.lower_bound("model.");  // lm_head comes first
  return invalid_argument(option + " matches no linear layer; names are like " + name);
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
  OCTET_ASSIGN_OR_RETURN(auto schemes, stored_schemes(checkpoint));
  if (request.scheme.empty()) {
    if (!request.exclude.empty() || !request.overrides.empty() || request.quantize_head) {
      return invalid_argument("--exclude, --override and --quantize-head go with --scheme");
    }
    return schemes;
  }
  OCTET_ASSIGN_OR_RETURN(const QuantScheme wanted, usable_scheme(request.scheme, request));
  OCTET_RETURN_IF_ERROR(check_unquantized(checkpoint, schemes, wanted, request.scheme));
  OCTET_ASSIGN_OR_RETURN(auto rules, override_rules(request));
  const std::string exclude_option = "--exclude '" + request.exclude + "'";
  OCTET_ASSIGN_OR_RETURN(const ModuleRegex exclude, compile(exclude_option, request.exclude));
  const QuantScheme rest = wanted.weight.quantized() ? sixteen_bit(checkpoint) : wanted;
  bool any_excluded = request.exclude.empty();
  for (auto& [module, scheme] : schemes) {
    scheme = module == "lm_head" && !request.quantize_head ? rest : wanted;
    for (auto& rule : rules) {
      OCTET_ASSIGN_OR_RETURN(const bool matches, rule.regex.matches(module));
      if (!matches) continue;
      rule.used = true;
      scheme = rule.scheme;
    }
    if (!request.exclude.empty()) {
      OCTET_ASSIGN_OR_RETURN(const bool excluded, exclude.matches(module));
      any_excluded = any_excluded || excluded;
      if (excluded) scheme = rest;
    }
    scheme = fitted(scheme, checkpoint, module);
  }
  if (!any_excluded) return unmatched(exclude_option, schemes);
  for (const auto& rule : rules) {
    if (!rule.used) return unmatched(rule.text, schemes);
  }
  return schemes;
}

}  // namespace octet
