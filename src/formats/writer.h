// Writes checkpoints that other engines load: a Hugging Face folder of safetensors with compressed-tensors'
// quantization_config, and the tokenizer, template and generation files beside it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/host_linear.h"

namespace octet {

// One tensor to be written; `fill` produces its bytes when its turn comes, so that no more than one is in
// memory.
struct TensorToWrite {
  std::string name;
  DType type = DType::kBF16;
  std::vector<int64_t> shape;
  std::function<Status(std::span<uint8_t> bytes)> fill;
};

// The tensors of one linear module in the layout of its scheme, without its bias; `read` gives the module
// whenever one of them is written, scales being bfloat16 values.
//   16 bit                  weight
//   8 bit                   weight [n, k], weight_scale [n, 1] or [1]; static inputs: input_scale [1],
//   input_zero_point [1] int8, int4 weight-only  weight_packed [n, k / 4 or 8] i32, weight_scale [n, groups],
//   weight_shape [2] LLM.int8()              weight [n, k], SCB [n] f32 (127 times the scale), weight_format
//   [] (0)
std::vector<TensorToWrite> linear_tensors(const std::string& module, const QuantScheme& scheme, int64_t n,
                                          int64_t k, const std::function<Result<const HostLinear*>()>& read);

// model.safetensors, or model-0000i-of-0000n.safetensors with an index above `shard_bytes`. Files are written
// under a temporary name and renamed at the end: a run that dies leaves no half checkpoint. `on_bytes` is
// called with the size of each piece written.
Status write_safetensors(const std::string& folder, const std::vector<TensorToWrite>& tensors,
                         size_t shard_bytes, const std::function<void(size_t)>& on_bytes);

// config.json (with quantization_config where any module is quantized), generation_config.json,
// tokenizer.json, tokenizer_config.json, chat_template.jinja: everything of the folder but the tensors. Works
// from GGUF sources too. `modules`: every linear module of the model, lm_head included, with the scheme it
// was written in; `record`: how it was made, where anything is quantized.
Status write_model_files(const std::string& folder, const Checkpoint& source,
                         const std::map<std::string, QuantScheme>& modules, const KvQuant* kv_quant,
                         const QuantizationRecord* record = nullptr);

}  // namespace octet
