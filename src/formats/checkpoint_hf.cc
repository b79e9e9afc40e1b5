// Checkpoints in a Hugging Face folder: config.json, safetensors, and the tokenizer's and template's files.
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "formats/checkpoint_builder.h"
#include "formats/hf_config.h"
#include "formats/hf_config_writer.h"
#include "formats/json_fields.h"
#include "formats/quantization_config.h"
#include "formats/safetensors.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Result<json> read_json_file(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path.string(), kMaxJsonBytes));
  return parse_json(text, path.string());
}

// The template of tokenizer_config.json: a string, or a list of {"name", "template"} of which "default"
// counts.
Result<std::string> embedded_template(const std::string& tokenizer_config, const std::string& file) {
  OCTET_ASSIGN_OR_RETURN(const json config, parse_json(tokenizer_config, file));
  JsonFields fields(config, file);
  std::string text;
  const json* source = fields.find("chat_template");
  if (source == nullptr || !source->is_array()) {
    fields.read("chat_template", &text);
    OCTET_RETURN_IF_ERROR(fields.status());
    return text;
  }
  for (const json& item : *source) {
    JsonFields named(item, file + ": chat_template");
    std::string name, body;
    named.require("name", &name);
    named.require("template", &body);
    OCTET_RETURN_IF_ERROR(named.status());
    if (name == "default") text = body;
  }
  return text;
}

Status read_if_there(const fs::path& path, std::string* text) {
  if (!is_there(path)) return {};
  OCTET_ASSIGN_OR_RETURN(*text, read_text_file(path.string()));
  return {};
}

// The quantization_config may stand in a file of its own, as ModelOpt writes it.
Result<json> with_quantization_file(json config, const std::string& folder) {
  const fs::path file = fs::path(folder) / "hf_quant_config.json";
  if (config.contains("quantization_config") || !is_there(file)) return config;
  OCTET_ASSIGN_OR_RETURN(const json own, read_json_file(file));
  const JsonFields fields(own, file.string());
  const json* quantization = fields.find("quantization");
  if (quantization == nullptr || !quantization->is_object()) {
    return corrupt(file.string() + ": quantization: expected an object");
  }
  config["quantization_config"] = *quantization;
  config["quantization_config"]["quant_method"] = "modelopt";
  return config;
}

Status read_schemes(const json& config, const std::string& file, Checkpoint* checkpoint) {
  auto modules = linear_modules(checkpoint->config);
  if (!checkpoint->config.tied_embeddings) modules.push_back("lm_head");
  OCTET_ASSIGN_OR_RETURN(auto quantization, parse_quantization_config(config, modules, file));
  checkpoint->schemes = std::move(quantization.schemes);
  for (auto& [module, scheme] : checkpoint->schemes) {  // 16-bit inputs are of the model's own type
    if (!scheme.input.quantized() && checkpoint->config.dtype == QType::kF16) scheme.input.type = QType::kF16;
  }
  checkpoint->has_kv_quant = quantization.kv_quant.has_value();
  if (!quantization.kv_quant) return {};
  checkpoint->kv_quant = *quantization.kv_quant;
  if (quantization.kv_scales_optional && checkpoint->find("model.layers.0.self_attn.k_scale") == nullptr) {
    checkpoint->kv_quant.dynamic = true;
  }
  return {};
}

// Names by which others store what this project knows under one: scales of the cache beside the projections
// that fill it, scales of inputs.
std::string canonical_name(std::string name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kEndings = {
      {{".self_attn.k_proj.k_scale", ".self_attn.k_scale"},
       {".self_attn.v_proj.v_scale", ".self_attn.v_scale"},
       {".self_attn.k_proj.output_scale", ".self_attn.k_scale"},
       {".self_attn.v_proj.output_scale", ".self_attn.v_scale"},
       {".act_scale", ".input_scale"}}};
  for (const auto& [theirs, ours] : kEndings) {
    if (!name.ends_with(theirs)) continue;
    name.replace(name.size() - theirs.size(), theirs.size(), ours);
    break;
  }
  return name;
}

// A tied model computes with the embeddings, whatever head is stored beside them; a quantized head is a
// weight of its own.
void resolve_head(Checkpoint* checkpoint) {
  if (!checkpoint->config.tied_embeddings) return;
  if (checkpoint->find("lm_head.weight_scale") != nullptr || checkpoint->find("lm_head.SCB") != nullptr) {
    checkpoint->config.tied_embeddings = false;
  } else {
    checkpoint->tensors.erase("lm_head.weight");
  }
}

}  // namespace

Status read_tokenizer_files(const std::string& folder, TokenizerSpec* spec) {
  const fs::path tokenizer = fs::path(folder) / "tokenizer.json",
                 config = fs::path(folder) / "tokenizer_config.json";
  OCTET_RETURN_IF_ERROR(read_if_there(tokenizer, &spec->tokenizer_json));
  if (!spec->tokenizer_json.empty()) spec->tokenizer_json_path = tokenizer.string();
  OCTET_RETURN_IF_ERROR(read_if_there(config, &spec->tokenizer_config_json));
  OCTET_RETURN_IF_ERROR(read_if_there(fs::path(folder) / "chat_template.jinja", &spec->chat_template));
  if (spec->chat_template.empty() && !spec->tokenizer_config_json.empty()) {
    OCTET_ASSIGN_OR_RETURN(spec->chat_template,
                           embedded_template(spec->tokenizer_config_json, config.string()));
  }
  return {};
}

Status read_hf_config_files(const std::string& folder, Checkpoint* checkpoint) {
  const fs::path config = fs::path(folder) / "config.json",
                 generation = fs::path(folder) / "generation_config.json";
  OCTET_ASSIGN_OR_RETURN(const json fields, read_json_file(config));
  OCTET_ASSIGN_OR_RETURN(checkpoint->config, parse_hf_config(fields, config.string()));
  checkpoint->config.name = fs::absolute(folder).lexically_normal().filename().string();
  if (checkpoint->config.name.empty()) {  // the path ends in a slash
    checkpoint->config.name = fs::absolute(folder).lexically_normal().parent_path().filename().string();
  }
  if (!is_there(generation)) return {};
  OCTET_ASSIGN_OR_RETURN(const json defaults, read_json_file(generation));
  return parse_generation_config(defaults, generation.string(), &checkpoint->config, &checkpoint->generation);
}

Result<std::shared_ptr<Checkpoint>> open_hf_checkpoint(const std::string& path) {
  CheckpointBuilder builder(path, "safetensors");
  Checkpoint& checkpoint = builder.checkpoint();
  OCTET_RETURN_IF_ERROR(read_hf_config_files(path, &checkpoint));
  OCTET_RETURN_IF_ERROR(read_tokenizer_files(path, &checkpoint.tokenizer));

  OCTET_ASSIGN_OR_RETURN(auto files, open_safetensors_folder(path));
  for (auto& file : files) {
    for (auto& entry : file.entries) {
      builder.add({canonical_name(entry.name), entry.type, std::move(entry.shape),
                   file.file->bytes().subspan(entry.begin, entry.end - entry.begin), file.file->path()});
    }
    builder.keep(std::move(file.file));
  }
  resolve_head(&checkpoint);
  const std::string config_file = (fs::path(path) / "config.json").string();
  OCTET_ASSIGN_OR_RETURN(json config, read_json_file(config_file));
  OCTET_ASSIGN_OR_RETURN(config, with_quantization_file(std::move(config), path));
  OCTET_RETURN_IF_ERROR(read_schemes(config, config_file, &checkpoint));
  OCTET_ASSIGN_OR_RETURN(checkpoint.record, parse_record(config, config_file));
  return builder.finish();
}

}  // namespace octet
