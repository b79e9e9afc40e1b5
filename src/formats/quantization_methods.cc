#include "formats/quantization_methods.h"

#include <nlohmann/json.hpp>

#include "formats/module_matcher.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr QuantArgs kFp8Tensor{.type = QType::kFp8, .scale = QScale::kTensor};
constexpr QuantArgs kFp8Channel{.type = QType::kFp8, .scale = QScale::kChannel};
constexpr QuantArgs kFp8Token{.type = QType::kFp8, .scale = QScale::kToken, .dynamic = true};

// Modules left in 16 bits. A name means the module itself and all below it, however much of the path before
// it is left out; "re:" begins a regular expression; a * stands for anything.
class Exclusions {
 public:
  static Result<Exclusions> compile(const std::vector<std::string>& patterns) {
    Exclusions exclusions;
    std::vector<std::string> regexes;
    for (const auto& pattern : patterns) {
      if (pattern.rfind("re:", 0) == 0) {
        regexes.push_back(pattern);
      } else if (pattern.find('*') != std::string::npos) {
        regexes.push_back("re:" + from_wildcard(pattern));
      } else {
        exclusions.names_.push_back("." + pattern + ".");
      }
    }
    OCTET_ASSIGN_OR_RETURN(auto matcher, ModuleMatcher::compile(regexes));
    exclusions.regexes_.push_back(std::move(matcher));
    return exclusions;
  }

  Result<bool> match(const std::string& module) const {
    for (const auto& name : names_) {
      if (("." + module + ".").find(name) != std::string::npos) return true;
    }
    OCTET_ASSIGN_OR_RETURN(const auto match, regexes_.front().match(module));
    return match != ModuleMatcher::kNone;
  }

 private:
  static std::string from_wildcard(const std::string& pattern) {
    std::string regex;
    for (const char c : pattern) {
      if (c == '*') {
        regex += ".*";
      } else {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') regex += '\\';
        regex += c;
      }
    }
    return regex + "$";
  }

  std::vector<std::string> names_;      // with a dot on either side
  std::vector<ModuleMatcher> regexes_;  // one: it has no state without regular expressions
};

// The list under the first of the keys that is there; without one, the head alone, as these formats' own
// loaders do.
Result<Exclusions> read_exclusions(const JsonFields& fields, std::initializer_list<const char*> keys) {
  std::vector<std::string> patterns = {"lm_head"};
  for (const char* key : keys) {
    if (!fields.has(key)) continue;
    OCTET_ASSIGN_OR_RETURN(patterns, read_strings(fields, key));
    break;
  }
  auto exclusions = Exclusions::compile(patterns);
  if (!exclusions.ok()) return exclusions.status().with_context(fields.where());
  return exclusions;
}

Result<QuantizationConfig> for_modules(const JsonFields& fields, const std::vector<std::string>& modules,
                                       const Exclusions& excluded, const QuantScheme& scheme) {
  QuantizationConfig result;
  for (const auto& module : modules) {
    const auto left_out = excluded.match(module);
    if (!left_out.ok()) return left_out.status().with_context(fields.where());
    if (!*left_out) result.schemes[module] = scheme;
  }
  return result;
}

}  // namespace

Result<QuantizationConfig> parse_fp8(const JsonFields& config, const std::vector<std::string>& modules) {
  JsonFields fields(config);
  if (fields.has("weight_block_size")) {
    return unsupported(fields.where() +
                       ": weight_block_size: weights with a scale for each block of rows and columns "
                       "are not supported; expected one scale a tensor");
  }
  std::string inputs = "dynamic";
  fields.read("activation_scheme", &inputs);
  OCTET_RETURN_IF_ERROR(fields.status());
  if (inputs != "dynamic" && inputs != "static") {
    return unsupported(fields.where() + ": activation_scheme: expected dynamic or static, found \"" + inputs +
                       "\"");
  }
  OCTET_ASSIGN_OR_RETURN(const auto excluded,
                         read_exclusions(fields, {"ignored_layers", "modules_to_not_convert"}));
  OCTET_ASSIGN_OR_RETURN(auto result, for_modules(fields, modules, excluded,
                                                  {kFp8Tensor, inputs == "static" ? kFp8Tensor : kFp8Token}));
  result.schemes.erase("lm_head");  // never a module of this method
  if (fields.has("kv_cache_scheme")) {
    result.kv_quant = KvQuant{.type = QType::kFp8, .dynamic = false};
    result.kv_scales_optional = true;
  }
  return result;
}

Result<QuantizationConfig> parse_fbgemm_fp8(const JsonFields& config,
                                            const std::vector<std::string>& modules) {
  JsonFields fields(config);
  QuantScheme scheme{kFp8Channel, kFp8Token};
  fields.read("activation_scale_ub", &scheme.input.absmax_limit);
  OCTET_RETURN_IF_ERROR(fields.status());
  if (!(scheme.input.absmax_limit >= 0 && scheme.input.absmax_limit < 1e30f)) {
    return corrupt(fields.where() + ": activation_scale_ub: expected a positive number");
  }
  OCTET_ASSIGN_OR_RETURN(const auto excluded, read_exclusions(fields, {"modules_to_not_convert"}));
  OCTET_ASSIGN_OR_RETURN(auto result, for_modules(fields, modules, excluded, scheme));
  result.schemes.erase("lm_head");
  return result;
}

Result<QuantizationConfig> parse_modelopt(const JsonFields& config, const std::vector<std::string>& modules) {
  JsonFields fields(config);
  std::string algorithm, cache;
  fields.require("quant_algo", &algorithm);
  fields.read("kv_cache_quant_algo", &cache);
  OCTET_RETURN_IF_ERROR(fields.status());
  QuantScheme scheme{kFp8Tensor, kFp8Tensor};
  if (algorithm == "FP8_PER_CHANNEL_PER_TOKEN") {
    scheme = {kFp8Channel, kFp8Token};
  } else if (algorithm != "FP8") {
    return unsupported(fields.where() + ": quant_algo: expected FP8 or FP8_PER_CHANNEL_PER_TOKEN, found \"" +
                       algorithm + "\"");
  }
  OCTET_ASSIGN_OR_RETURN(const auto excluded, read_exclusions(fields, {"ignore", "exclude_modules"}));
  OCTET_ASSIGN_OR_RETURN(auto result, for_modules(fields, modules, excluded, scheme));
  if (const json* kv = fields.find("kv_cache_scheme"); kv != nullptr && cache.empty()) {
    JsonFields words(*kv, fields.where() + ": kv_cache_scheme");
    std::string type = "float";
    int32_t bits = 8;
    words.read("type", &type);
    words.read("num_bits", &bits);
    OCTET_RETURN_IF_ERROR(words.status());
    cache = type == "float" && bits == 8 ? "FP8" : type + std::to_string(bits);
  }
  if (cache.empty()) return result;
  if (cache != "FP8") {
    return unsupported(fields.where() + ": kv_cache_quant_algo: expected FP8, found \"" + cache + "\"");
  }
  result.kv_quant = KvQuant{.type = QType::kFp8, .dynamic = false};
  result.kv_scales_optional = true;
  return result;
}

Result<QuantizationConfig> parse_bitsandbytes(const JsonFields& config,
                                              const std::vector<std::string>& modules) {
  JsonFields fields(config);
  bool in_8_bits = false;
  QuantScheme scheme{{.type = QType::kInt8, .scale = QScale::kChannel},
                     {.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true, .outlier = 6}};
  fields.read("load_in_8bit", &in_8_bits);
  fields.read("llm_int8_threshold", &scheme.input.outlier);
  OCTET_RETURN_IF_ERROR(fields.status());
  if (!in_8_bits) {
    return unsupported(fields.where() +
                       ": load_in_8bit: expected true; 4-bit checkpoints of bitsandbytes are not "
                       "supported");
  }
  if (!(scheme.input.outlier >= 0)) {
    return corrupt(fields.where() + ": llm_int8_threshold: expected a number of at least 0");
  }
  OCTET_ASSIGN_OR_RETURN(const auto excluded, read_exclusions(fields, {"llm_int8_skip_modules"}));
  return for_modules(fields, modules, excluded, scheme);
}

Result<json> make_bitsandbytes(const std::map<std::string, QuantScheme>& modules, const KvQuant* kv_quant) {
  const QuantScheme* common = nullptr;
  json skipped = json::array();
  for (const auto& [module, scheme] : modules) {
    if (!scheme.weight.quantized()) {
      skipped.push_back(module);
      continue;
    }
    if (common != nullptr && scheme != *common) {
      return unsupported(module +
                         ": llm-int8 is stored in the format of bitsandbytes, which holds no other scheme "
                         "beside it, found " +
                         scheme_name(scheme) + " and " + scheme_name(*common));
    }
    common = &scheme;
  }
  if (kv_quant != nullptr && kv_quant->quantized() && !kv_quant->dynamic) {
    return unsupported(
        "llm-int8 is stored in the format of bitsandbytes, which holds no scales of a KV cache");
  }
  return json{{"quant_method", "bitsandbytes"},
              {"load_in_8bit", true},
              {"load_in_4bit", false},
              {"llm_int8_threshold", common->input.outlier},
              {"llm_int8_skip_modules", skipped},
              {"llm_int8_enable_fp32_cpu_offload", false},
              {"llm_int8_has_fp16_weight", false}};
}

}  // namespace octet
