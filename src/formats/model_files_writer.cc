// write_model_files: everything of a Hugging Face folder but the tensors.
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "formats/file_output.h"
#include "formats/hf_config_writer.h"
#include "formats/json_fields.h"
#include "formats/quantization_config.h"
#include "formats/tokenizer_writer.h"
#include "formats/writer.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Files of a Hugging Face folder that belong to the tokenizer and to generation; those that are there are
// copied.
constexpr std::array kCopied = {"generation_config.json",
                                "tokenizer.json",
                                "tokenizer_config.json",
                                "special_tokens_map.json",
                                "added_tokens.json",
                                "tokenizer.model",
                                "vocab.json",
                                "merges.txt",
                                "chat_template.jinja"};

bool is_hf_folder(const Checkpoint& source) {
  return source.format == "safetensors";
}

// The configuration of what was written: the head may have become a weight of its own, the 16-bit type
// another.
ModelConfig written_config(const ModelConfig& config, const std::map<std::string, QuantScheme>& modules) {
  ModelConfig written = config;
  if (written.dtype == QType::kF32) written.dtype = QType::kBF16;
  for (const auto& [module, scheme] : modules) {
    if (!scheme.weight.quantized()) written.dtype = scheme.weight.type;
  }
  const auto head = modules.find("lm_head");
  if (head != modules.end() && head->second.weight.quantized()) written.tied_embeddings = false;
  return written;
}

Status write_config(const std::string& folder, const Checkpoint& source,
                    const std::map<std::string, QuantScheme>& modules, const KvQuant* kv_quant,
                    const QuantizationRecord* record) {
  json base = json::object();
  if (is_hf_folder(source)) {
    const std::string file = (fs::path(source.path) / "config.json").string();
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(file, kMaxJsonBytes));
    OCTET_ASSIGN_OR_RETURN(base, parse_json(text, file));
  }
  OCTET_ASSIGN_OR_RETURN(json config, make_hf_config(written_config(source.config, modules), base));
  OCTET_ASSIGN_OR_RETURN(const json quantization, make_quantization_config(modules, kv_quant));
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  if (!quantization.is_null() && record != nullptr) config[kRecordField] = record_json(*record);
  return write_text_file((fs::path(folder) / "config.json").string(), config.dump(2) + "\n");
}

Status copy_files(const std::string& folder, const std::string& source) {
  for (const char* name : kCopied) {
    const fs::path from = fs::path(source) / name;
    std::error_code ignored;
    if (!fs::exists(from, ignored)) continue;
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(from.string()));
    OCTET_RETURN_IF_ERROR(write_text_file((fs::path(folder) / name).string(), text));
  }
  return {};
}

Status write_from_spec(const std::string& folder, const Checkpoint& source) {
  const fs::path root(folder);
  const json generation = make_generation_config(source.config, source.generation);
  OCTET_RETURN_IF_ERROR(
      write_text_file((root / "generation_config.json").string(), generation.dump(2) + "\n"));
  const TokenizerSpec& spec = source.tokenizer;
  if (spec.empty()) return {};
  auto tokenizer = make_tokenizer_json(spec.gguf);
  if (!tokenizer.ok()) return tokenizer.status().with_context(source.path);
  OCTET_RETURN_IF_ERROR(write_text_file((root / "tokenizer.json").string(), *tokenizer));
  OCTET_RETURN_IF_ERROR(write_text_file((root / "tokenizer_config.json").string(),
                                        make_tokenizer_config(spec.gguf, source.config.max_context)));
  if (spec.chat_template.empty()) return {};
  return write_text_file((root / "chat_template.jinja").string(), spec.chat_template);
}

}  // namespace

Status write_model_files(const std::string& folder, const Checkpoint& source,
                         const std::map<std::string, QuantScheme>& modules, const KvQuant* kv_quant,
                         const QuantizationRecord* record) {
  OCTET_RETURN_IF_ERROR(write_config(folder, source, modules, kv_quant, record));
  return is_hf_folder(source) ? copy_files(folder, source.path) : write_from_spec(folder, source);
}

}  // namespace octet
