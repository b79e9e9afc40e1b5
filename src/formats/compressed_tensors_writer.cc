// make_compressed_tensors: one group for each scheme. A single one is addressed as "Linear" with the rest
// ignored by name, which every reader understands; of several, each lists its modules.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "formats/compressed_tensors.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr const char* kVersion = "0.9.0";  // of compressed-tensors, whose fields these are

const char* strategy_name(QScale scale) {
  if (scale == QScale::kTensor) return "tensor";
  if (scale == QScale::kGroup) return "group";
  return scale == QScale::kChannel ? "channel" : "token";
}

// Dynamic: one scale a token and head, found while writing the cache.
const char* kv_strategy_name(const KvQuant& kv) {
  if (kv.dynamic) return "token";
  return kv.per_head ? "attn_head" : "tensor";
}

json operand(QType type, const char* strategy, bool dynamic, bool symmetric) {
  return {{"num_bits", type == QType::kInt4 ? 4 : 8},
          {"type", type == QType::kFp8 ? "float" : "int"},
          {"strategy", strategy},
          {"dynamic", dynamic},
          {"symmetric", symmetric},
          {"group_size", nullptr},
          {"block_structure", nullptr},
          {"actorder", nullptr},
          {"observer", dynamic ? json(nullptr) : json("minmax")},
          {"observer_kwargs", json::object()}};
}

json operand(const QuantArgs& args) {
  json words = operand(args.type, strategy_name(args.scale), args.dynamic, args.symmetric);
  if (args.scale == QScale::kGroup) words["group_size"] = args.group_size;
  return words;
}

// Weights alone of int8 or int4 are packed into words of 32 bits, as readers of weights alone expect them.
const char* format_of(const QuantScheme& scheme) {
  if (scheme.weight.type == QType::kFp8) return "float-quantized";
  return scheme.input.quantized() ? "int-quantized" : "pack-quantized";
}

json make_group(const QuantScheme& scheme, std::vector<std::string> targets) {
  return {{"format", format_of(scheme)},
          {"targets", std::move(targets)},
          {"weights", operand(scheme.weight)},
          {"input_activations", scheme.input.quantized() ? operand(scheme.input) : json(nullptr)},
          {"output_activations", nullptr}};
}

}  // namespace

json make_compressed_tensors(const std::map<std::string, QuantScheme>& modules, const KvQuant* kv_quant) {
  std::vector<std::pair<QuantScheme, std::vector<std::string>>> groups;
  json ignore = json::array();
  for (const auto& [module, scheme] : modules) {
    if (!scheme.weight.quantized()) {
      ignore.push_back(module);
      continue;
    }
    const auto known = std::find_if(groups.begin(), groups.end(),
                                    [&scheme = scheme](const auto& g) { return g.first == scheme; });
    auto& group = known != groups.end() ? *known : groups.emplace_back(scheme, std::vector<std::string>());
    group.second.push_back(module);
  }
  const bool kv_quantized = kv_quant != nullptr && kv_quant->quantized();
  if (groups.empty() && !kv_quantized) return nullptr;

  json config_groups = json::object();
  std::string format;
  for (size_t i = 0; i < groups.size(); ++i) {
    auto& [scheme, names] = groups[i];
    config_groups["group_" + std::to_string(i)] =
        make_group(scheme, groups.size() == 1 ? std::vector<std::string>{"Linear"} : std::move(names));
    format = format.empty() || format == format_of(scheme) ? format_of(scheme) : "mixed-precision";
  }
  return {{"quant_method", "compressed-tensors"},
          {"version", kVersion},
          {"format", format.empty() ? "dense" : format},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"config_groups", config_groups},
          {"ignore", ignore},
          {"kv_cache_scheme",
           kv_quantized ? operand(kv_quant->type, kv_strategy_name(*kv_quant), kv_quant->dynamic, true)
                        : json(nullptr)}};
}

}  // namespace octet
