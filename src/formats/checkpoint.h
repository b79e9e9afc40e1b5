// One model on disk, whatever its format: configuration, tensors under Hugging Face's names, the scheme of
// every linear layer, tokenizer and chat template. Files stay memory-mapped as long as the Checkpoint lives.
//
// Names are canonical: GGUF's `blk.0.attn_q.weight` is found as `model.layers.0.self_attn.q_proj.weight`, and
// the row order of its q and k (permuted for adjacent-pair rotation by the converter) is undone on reading.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/status.h"
#include "formats/model_config.h"
#include "tensor/dtype.h"
#include "tensor/quant_scheme.h"
#include "text/tokenizer_spec.h"

namespace octet {

struct CheckpointTensor {
  std::string name;  // canonical
  DType type = DType::kF32;
  std::vector<int64_t> shape;     // row-major, outermost first: a linear weight is [n, k]
  std::span<const uint8_t> data;  // mapped
  std::string file;               // for messages
  int32_t rope_heads = 0;  // > 0: rows come in GGUF's rotated order for so many heads; read_rows undoes it

  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t cols() const;  // product of the other dimensions
};

// How `octet quantize` made a checkpoint: what the tensors do not tell. config.json's `octet_quantization`.
struct QuantizationRecord {
  std::string scheme;           // as asked for: "int8", "int8-static"
  std::string weights;          // how they were rounded: "absmax", "mse", "gptq"
  bool smoothed = false;        // weights took over a part of the inputs' outliers (SmoothQuant)
  int64_t dynamic_instead = 0;  // inputs that were to be static, were not safe, and became dynamic
};

class Checkpoint {
 public:
  // A folder (config.json and safetensors), a .gguf file, or a folder that holds one .gguf file.
  // Everything is checked here: bounds, overlaps, shapes against the config, missing tensors. One line a
  // mistake, with file, tensor, what was expected and what was found.
  static Result<std::shared_ptr<Checkpoint>> open(const std::string& path);

  // Weights of a trained model's spread for speed measurements: `source` is a folder with a config.json or a
  // built-in name (llama-3.1-8b, llama-3.2-1b, ...). Tensors are made on reading, seeded by name.
  static Result<std::shared_ptr<Checkpoint>> random(const std::string& source, uint64_t seed = 1);
  static std::vector<std::string> random_names();

  std::string path;
  std::string format;  // "safetensors", "gguf v3", "random"
  ModelConfig config;
  GenerationDefaults generation;
  TokenizerSpec tokenizer;
  std::map<std::string, CheckpointTensor> tensors;
  // The scheme of a linear layer by its module name ("model.layers.0.mlp.down_proj", "lm_head"); modules not
  // named here are 16 bit.
  std::map<std::string, QuantScheme> schemes;
  KvQuant kv_quant;  // what the checkpoint asks for (kBF16 where it says nothing)
  bool has_kv_quant = false;
  std::optional<QuantizationRecord> record;  // where octet quantized it

  const CheckpointTensor* find(const std::string& name) const;
  QuantScheme scheme_of(const std::string& module) const;
  bool smoothed() const { return record.has_value() && record->smoothed; }

  // Rows [begin, end) as float32 (any type, block types dequantized), into out[(end - begin) * cols].
  Status read_rows_f32(const CheckpointTensor& tensor, int64_t begin, int64_t end, float* out) const;
  // The raw codes of rows [begin, end) in the tensor's own plain type (row order undone as above).
  Status read_rows_raw(const CheckpointTensor& tensor, int64_t begin, int64_t end, void* out) const;

 private:
  friend class CheckpointBuilder;
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::optional<uint64_t> random_seed_;  // set: tensors have no data, they are made on reading
};

// The tokenizer of a model, without the rest of it: `path` is anything that Checkpoint::open takes, a
// tokenizer.json, a folder that has one, or a GGUF file of a vocabulary alone. kNotFound where there is none.
Result<TokenizerSpec> read_tokenizer(const std::string& path);

// The modules of a model that are linear layers of its blocks, in order of use:
// model.layers.{i}.self_attn.{q,k,v,o}_proj, model.layers.{i}.mlp.{gate,up,down}_proj. Not lm_head.
std::vector<std::string> linear_modules(const ModelConfig& config);
// Expected [n, k] of such a module or of lm_head.
std::pair<int64_t, int64_t> linear_shape(const ModelConfig& config, const std::string& module);

}  // namespace octet
