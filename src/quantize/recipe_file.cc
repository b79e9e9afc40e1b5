#include "quantize/recipe_file.h"

#include <algorithm>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/json_fields.h"

namespace octet {
namespace {

constexpr int32_t kVersion = 1;

bool is_below(const std::string& module, const std::string& name) {
  return module.starts_with(name) && (module.size() == name.size() || module[name.size()] == '.');
}

Status check_keys(const nlohmann::json& json, const std::string& file) {
  for (const auto& [key, value] : json.items()) {
    if (key != "octet_recipe" && key != "scheme" && key != "layers" && key != "quantize_head") {
      return invalid_argument(file + ": " + key +
                              ": not known; a recipe has octet_recipe, scheme, layers and quantize_head");
    }
  }
  return {};
}

Result<std::map<std::string, std::string>> read_layers(const nlohmann::json& json, const std::string& file,
                                                       const ModelConfig& config) {
  std::map<std::string, std::string> layers;
  if (!json.is_object()) {
    return invalid_argument(file + ": layers: expected an object of names and schemes, found " + brief(json));
  }
  auto modules = linear_modules(config);
  modules.emplace_back("lm_head");
  for (const auto& [name, scheme] : json.items()) {
    const std::string where = file + ": layers: " + name;
    if (!scheme.is_string()) {
      return invalid_argument(where + ": expected the name of a scheme, found " + brief(scheme));
    }
    if (std::none_of(modules.begin(), modules.end(), [&](const auto& m) { return is_below(m, name); })) {
      return invalid_argument(where + ": the model has no such linear layer; names are like " + modules[0]);
    }
    OCTET_RETURN_IF_ERROR(scheme_by_name(scheme).status().with_context(where));
    layers[name] = scheme;
  }
  return layers;
}

}  // namespace

std::string recipe_text(const RecipeFile& recipe) {
  nlohmann::ordered_json json = {{"octet_recipe", kVersion}, {"scheme", recipe.scheme}};
  json["layers"] = nlohmann::ordered_json::object();
  for (const auto& [name, scheme] : recipe.layers) json["layers"][name] = scheme;
  json["quantize_head"] = recipe.quantize_head;
  return json.dump(2) + "\n";
}

Result<RecipeFile> parse_recipe(const std::string& text, const std::string& file, const ModelConfig& config) {
  OCTET_ASSIGN_OR_RETURN(const auto json, parse_json(text, file));
  if (!json.is_object()) return invalid_argument(file + ": expected an object, found " + brief(json));
  JsonFields fields(json, file);
  RecipeFile recipe;
  int32_t version = 0;
  fields.require("octet_recipe", &version);
  fields.require("scheme", &recipe.scheme);
  fields.read("quantize_head", &recipe.quantize_head);
  if (!fields.status().ok()) return invalid_argument(fields.status().message());
  if (version != kVersion) {
    return invalid_argument(file + ": octet_recipe: version " + std::to_string(version) +
                            " is not known; this program reads " + std::to_string(kVersion));
  }
  OCTET_RETURN_IF_ERROR(check_keys(json, file));
  OCTET_RETURN_IF_ERROR(scheme_by_name(recipe.scheme).status().with_context(file + ": scheme"));
  if (const auto* layers = fields.find("layers")) {
    OCTET_ASSIGN_OR_RETURN(recipe.layers, read_layers(*layers, file, config));
  }
  return recipe;
}

void apply_recipe(const RecipeFile& recipe, QuantizeOptions* options) {
  options->scheme = recipe.scheme;
  options->quantize_head = recipe.quantize_head;
  std::vector<std::pair<std::string, std::string>> layers(recipe.layers.begin(), recipe.layers.end());
  std::stable_sort(layers.begin(), layers.end(),
                   [](const auto& a, const auto& b) { return a.first.size() < b.first.size(); });
  for (const auto& [name, scheme] : layers) {
    std::string escaped;
    for (const char c : name) escaped += c == '.' ? std::string("\\.") : std::string(1, c);
    options->overrides.push_back("^" + escaped + "(\\.|$)=" + scheme);
  }
}

}  // namespace octet
