// Checkpoints in a GGUF file.
#include <filesystem>

#include "formats/checkpoint_builder.h"
#include "formats/gguf.h"
#include "formats/gguf_model.h"

namespace octet {
namespace {

// The converter reorders the rows of q and k (weights and biases) of the Llama architecture, and of no other
// here.
int32_t rope_heads_of(const ModelConfig& config, const std::string& name) {
  if (config.architecture != "llama") return 0;
  if (name.find(".self_attn.q_proj.") != std::string::npos) return config.n_heads;
  if (name.find(".self_attn.k_proj.") != std::string::npos) return config.n_kv_heads;
  return 0;
}

// Tensors that are read otherwise (rope_freqs) or are not needed (rotation tables of old converters).
bool is_side_table(const std::string& gguf_name) {
  return gguf_name == "rope_freqs.weight" || gguf_name.ends_with(".attn_rot_embd") ||
         gguf_name.ends_with(".attn_rot_embd.weight");
}

}  // namespace

Result<TokenizerSpec> read_gguf_tokenizer(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
  OCTET_ASSIGN_OR_RETURN(const GgufFile gguf, parse_gguf(file->bytes(), path));
  return gguf_tokenizer(gguf, path);
}

Result<std::shared_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  OCTET_ASSIGN_OR_RETURN(GgufFile gguf, parse_gguf(file->bytes(), path));

  CheckpointBuilder builder(path, "gguf v" + std::to_string(gguf.version));
  Checkpoint& checkpoint = builder.checkpoint();
  OCTET_ASSIGN_OR_RETURN(checkpoint.config, gguf_model_config(gguf, path));
  checkpoint.config.name = std::filesystem::path(path).stem().string();
  OCTET_ASSIGN_OR_RETURN(checkpoint.tokenizer, gguf_tokenizer(gguf, path));
  for (auto& source : gguf.tensors) {
    if (is_side_table(source.name)) continue;
    CheckpointTensor tensor{canonical_tensor_name(source.name), source.type, std::move(source.shape),
                            source.data, path};
    if (tensor.name.empty()) {
      return unsupported(path + ": tensor " + source.name +
                         ": belongs to nothing that this architecture computes");
    }
    tensor.rope_heads = rope_heads_of(checkpoint.config, tensor.name);
    builder.add(std::move(tensor));
  }
  builder.keep(std::move(file));
  return builder.finish();
}

}  // namespace octet
