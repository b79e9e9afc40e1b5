#include "formats/compressed_tensors.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "formats/json_fields.h"
#include "formats/module_matcher.h"

namespace octet {
namespace {

using nlohmann::json;

// The arguments of one operand in the format's words.
struct Words {
  std::string type, strategy;
  int32_t bits = 0, group_size = 0;
  bool symmetric = true, dynamic = false;

  std::string text() const {
    return type + std::to_string(bits) + "/" + strategy + (group_size > 0 ? std::to_string(group_size) : "") +
           (dynamic ? "/dynamic" : "") + (symmetric ? "" : "/asymmetric");
  }
};

struct Group {
  std::string name;
  ModuleMatcher targets;
  QuantScheme scheme;
  Status status;  // why the scheme cannot be expressed; counts only if a module has it
};

Result<Words> read_words(const json& operand, const std::string& where) {
  JsonFields fields(operand, where);
  Words words;
  words.type = "int";
  words.bits = 8;
  words.strategy = "tensor";
  fields.read("type", &words.type);
  fields.read("num_bits", &words.bits);
  fields.read("strategy", &words.strategy);
  fields.read("group_size", &words.group_size);
  words.group_size = std::max(words.group_size, 0);  // -1: no groups
  fields.read("symmetric", &words.symmetric);
  const json* dynamic = fields.find("dynamic");
  if (dynamic != nullptr && dynamic->is_string()) {
    words.strategy +=
        "/dynamic:" + dynamic->get<std::string>();  // "local": scales of both kinds, not expressed here
  } else {
    fields.read("dynamic", &words.dynamic);
  }
  const json* order = fields.find("actorder");
  if (order != nullptr && *order != false) words.strategy += "/actorder";
  OCTET_RETURN_IF_ERROR(fields.status());
  return words;
}

// `scales`: the strategies that the operand may have.
Status to_args(const Words& words, std::initializer_list<std::pair<const char*, QScale>> scales,
               QuantArgs* args) {
  const bool is_int = words.type == "int", is_float = words.type == "float";
  if (is_int && (words.bits == 8 || words.bits == 4)) {
    args->type = words.bits == 8 ? QType::kInt8 : QType::kInt4;
  } else if (is_float && words.bits == 8) {
    args->type = QType::kFp8;
  } else {
    return unsupported("expected int8, int4 or float8, found " + words.text());
  }
  args->dynamic = words.dynamic;
  args->symmetric = words.symmetric;
  args->scale = QScale::kNone;
  std::string known;
  for (const auto& [name, scale] : scales) {
    if (words.strategy == name) args->scale = scale;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  if (args->scale == QScale::kNone) {
    return unsupported("expected a scale for each " + known + ", found " + words.text());
  }
  args->group_size = args->scale == QScale::kGroup ? words.group_size : 0;
  return {};
}

Status check_format(const std::string& format) {
  for (const char* known : {"int-quantized", "float-quantized", "naive-quantized", "pack-quantized"}) {
    if (format == known) return {};
  }
  return unsupported(
      "the format " + format +
      " is not supported; there are int-quantized, float-quantized, naive-quantized, pack-quantized");
}

// Fills scheme and status of the group from its weights, inputs and format.
Status read_scheme(const JsonFields& fields, std::string format, Group* group) {
  const json *weights = fields.find("weights"), *inputs = fields.find("input_activations");
  if (weights == nullptr) return corrupt(fields.where() + ": weights: is missing");
  OCTET_ASSIGN_OR_RETURN(const Words weight, read_words(*weights, fields.where() + ": weights"));
  std::string scheme = "w:" + weight.text();
  JsonFields text(fields);
  text.read("format", &format);
  OCTET_RETURN_IF_ERROR(text.status());
  Words input;
  if (inputs != nullptr) {
    OCTET_ASSIGN_OR_RETURN(input, read_words(*inputs, fields.where() + ": input_activations"));
    scheme += " a:" + input.text();
  }
  const auto cannot = [&](const Status& why) { group->status = why.with_context("the scheme " + scheme); };

  if (fields.has("output_activations")) cannot(unsupported("quantized outputs are not supported"));
  if (!format.empty() && format != "mixed-precision") {
    if (Status status = check_format(format); !status.ok()) cannot(status);
  }
  Status status =
      to_args(weight, {{"tensor", QScale::kTensor}, {"channel", QScale::kChannel}, {"group", QScale::kGroup}},
              &group->scheme.weight);
  if (status.ok() && inputs != nullptr) {
    status = to_args(input, {{"tensor", QScale::kTensor}, {"token", QScale::kToken}}, &group->scheme.input);
  }
  if (status.ok()) status = check_scheme(group->scheme);
  if (!status.ok()) cannot(status);
  return {};
}

Result<std::vector<Group>> read_groups(const JsonFields& fields) {
  std::string format;
  JsonFields text(fields);
  text.read("format", &format);
  OCTET_RETURN_IF_ERROR(text.status());
  const json* config_groups = fields.find("config_groups");
  if (config_groups == nullptr || !config_groups->is_object()) {
    return corrupt(fields.where() + ": config_groups: expected an object of groups");
  }
  std::vector<Group> groups;
  for (const auto& [name, value] : config_groups->items()) {
    const JsonFields group_fields(value, fields.where() + ": " + name);
    OCTET_RETURN_IF_ERROR(group_fields.status());
    OCTET_ASSIGN_OR_RETURN(const auto targets, read_strings(group_fields, "targets"));
    auto matcher = ModuleMatcher::compile(targets);
    if (!matcher.ok()) return matcher.status().with_context(group_fields.where() + ": targets");
    Group group{name, std::move(matcher).value(), {}, {}};
    OCTET_RETURN_IF_ERROR(read_scheme(group_fields, format, &group));
    groups.push_back(std::move(group));
  }
  return groups;
}

// Things that change what a module computes and have no place in QuantScheme.
Status check_extras(const JsonFields& fields) {
  if (const json* transform = fields.find("transform_config"); transform != nullptr && !transform->empty()) {
    return unsupported(fields.where() +
                       ": transform_config: transforms of weights or inputs are not supported");
  }
  if (const json* sparsity = fields.find("sparsity_config"); sparsity != nullptr && !sparsity->empty()) {
    std::string format = "dense";
    JsonFields sparse(*sparsity, fields.where() + ": sparsity_config");
    sparse.read("format", &format);
    OCTET_RETURN_IF_ERROR(sparse.status());
    if (format != "dense") {
      return unsupported(sparse.where() + ": format: expected dense, found \"" + format + "\"");
    }
  }
  return {};
}

Result<std::optional<KvQuant>> read_kv_scheme(const JsonFields& fields) {
  const json* scheme = fields.find("kv_cache_scheme");
  if (scheme == nullptr) return std::optional<KvQuant>();
  const std::string where = fields.where() + ": kv_cache_scheme";
  OCTET_ASSIGN_OR_RETURN(const Words words, read_words(*scheme, where));
  if (words.bits != 8 || (words.type != "int" && words.type != "float") || !words.symmetric) {
    return unsupported(where + ": expected symmetric int8 or float8, found " + words.text());
  }
  if (!words.dynamic && words.strategy != "tensor" && words.strategy != "attn_head") {
    return unsupported(where + ": expected static scales for each tensor or attn_head, found " +
                       words.text());
  }
  return std::optional(KvQuant{.type = words.type == "int" ? QType::kInt8 : QType::kFp8,
                               .dynamic = words.dynamic,
                               .per_head = words.strategy == "attn_head"});
}

// The group that a module belongs to, or null: the most specific match, the first of several alike.
Result<const Group*> group_of(const std::vector<Group>& groups, const ModuleMatcher& ignore,
                              const std::string& module) {
  OCTET_ASSIGN_OR_RETURN(const auto ignored, ignore.match(module));
  const Group* best = nullptr;
  if (ignored != ModuleMatcher::kNone) return best;
  auto best_match = ModuleMatcher::kNone;
  for (const auto& group : groups) {
    OCTET_ASSIGN_OR_RETURN(const auto match, group.targets.match(module));
    if (match > best_match) {
      best = &group;
      best_match = match;
    }
  }
  return best;
}

}  // namespace

Result<QuantizationConfig> parse_compressed_tensors(const JsonFields& fields,
                                                    const std::vector<std::string>& modules) {
  QuantizationConfig result;
  OCTET_RETURN_IF_ERROR(check_extras(fields));
  OCTET_ASSIGN_OR_RETURN(result.kv_quant, read_kv_scheme(fields));
  OCTET_ASSIGN_OR_RETURN(const auto ignore_list, read_strings(fields, "ignore"));
  auto ignore = ModuleMatcher::compile(ignore_list);
  if (!ignore.ok()) return ignore.status().with_context(fields.where() + ": ignore");
  OCTET_ASSIGN_OR_RETURN(const auto groups, read_groups(fields));
  for (const auto& module : modules) {
    auto group = group_of(groups, *ignore, module);
    if (!group.ok()) return group.status().with_context(fields.where());
    if (*group == nullptr) continue;
    OCTET_RETURN_IF_ERROR(
        (*group)->status.with_context(fields.where() + ": " + (*group)->name + ": " + module));
    result.schemes[module] = (*group)->scheme;
  }
  return result;
}

}  // namespace octet
