#include "formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "formats/checkpoint_builder.h"
#include "formats/expected_tensors.h"
#include "formats/random_weights.h"
#include "formats/row_codec.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

// Where row `row` of Hugging Face's order lies in a GGUF file of the Llama architecture: within a head, the
// two halves that rotate together are interleaved there.
int64_t stored_row(const CheckpointTensor& tensor, int64_t row) {
  if (tensor.rope_heads == 0) return row;
  const int64_t head_dim = tensor.rows() / tensor.rope_heads, half = head_dim / 2;
  const int64_t head = row / head_dim, within = row % head_dim;
  return head * head_dim + within % half * 2 + within / half;
}

// Calls copy(stored first row, first row of the output, rows) for runs of rows that lie together.
template <typename Copy>
void for_stored_runs(const CheckpointTensor& tensor, int64_t begin, int64_t end, const Copy& copy) {
  if (tensor.rope_heads == 0) return copy(begin, int64_t{0}, end - begin);
  for (int64_t row = begin; row < end; ++row) copy(stored_row(tensor, row), row - begin, int64_t{1});
}

void check_range(const CheckpointTensor& tensor, int64_t begin, int64_t end) {
  OCTET_CHECK(0 <= begin && begin <= end && end <= tensor.rows())
      << tensor.name << ": rows [" << begin << ", " << end << ") of " << tensor.rows();
}

Result<std::string> only_gguf_of(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), last; !error && it != last; it.increment(error)) {
    if (it->path().extension() == ".gguf") found.push_back(it->path().string());
  }
  if (found.size() == 1) return found[0];
  return not_found(folder.string() + ": expected a config.json with safetensors, or one .gguf file, found " +
                   std::to_string(found.size()) + " .gguf files");
}

}  // namespace

int64_t CheckpointTensor::cols() const {
  int64_t product = 1;
  for (size_t i = 1; i < shape.size(); ++i) product *= shape[i];
  return product;
}

CheckpointBuilder::CheckpointBuilder(std::string path, std::string format)
    : checkpoint_(std::make_shared<Checkpoint>()) {
  checkpoint_->path = std::move(path);
  checkpoint_->format = std::move(format);
}

void CheckpointBuilder::add(CheckpointTensor tensor) {
  std::string name = tensor.name;
  checkpoint_->tensors.emplace(std::move(name), std::move(tensor));
}

Result<std::shared_ptr<Checkpoint>> CheckpointBuilder::finish() {
  OCTET_RETURN_IF_ERROR(check_tensors(*checkpoint_));
  return std::move(checkpoint_);
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::open(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return not_found(path + ": no such file or folder");
  if (fs::is_directory(path, ignored)) {
    if (fs::exists(fs::path(path) / "config.json", ignored)) return open_hf_checkpoint(path);
    OCTET_ASSIGN_OR_RETURN(const std::string file, only_gguf_of(path));
    return open_gguf_checkpoint(file);
  }
  if (path.ends_with(".safetensors")) {
    return invalid_argument(path +
                            ": expected the folder of the model, with its config.json, found a file of it");
  }
  return open_gguf_checkpoint(path);
}

Result<TokenizerSpec> read_tokenizer(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return not_found(path + ": no such file or folder");
  TokenizerSpec spec;
  if (fs::path(path).filename() == "tokenizer.json") {
    OCTET_RETURN_IF_ERROR(read_tokenizer_files(fs::absolute(path).parent_path().string(), &spec));
  } else if (fs::is_directory(path, ignored) && fs::exists(fs::path(path) / "tokenizer.json", ignored)) {
    OCTET_RETURN_IF_ERROR(read_tokenizer_files(path, &spec));
  } else {
    std::string file = path;
    if (fs::is_directory(path, ignored)) {
      auto only = only_gguf_of(path);
      if (!only.ok()) return not_found(path + ": no tokenizer: expected a tokenizer.json, or one .gguf file");
      file = std::move(only).value();
    }
    OCTET_ASSIGN_OR_RETURN(spec, read_gguf_tokenizer(file));
  }
  if (spec.empty()) return not_found(path + ": no tokenizer in it");
  return spec;
}

const CheckpointTensor* Checkpoint::find(const std::string& name) const {
  const auto it = tensors.find(name);
  return it == tensors.end() ? nullptr : &it->second;
}

QuantScheme Checkpoint::scheme_of(const std::string& module) const {
  const auto it = schemes.find(module);
  if (it != schemes.end()) return it->second;
  return {QuantArgs{config.dtype}, QuantArgs{config.dtype}};
}

Status Checkpoint::read_rows_f32(const CheckpointTensor& tensor, int64_t begin, int64_t end,
                                 float* out) const {
  check_range(tensor, begin, end);
  if (random_seed_) {
    random_rows(tensor, *random_seed_, begin, end, out);
    return {};
  }
  const int64_t cols = tensor.cols();
  const size_t row_bytes = dtype_bytes(tensor.type, static_cast<size_t>(cols));
  for_stored_runs(tensor, begin, end, [&](int64_t stored, int64_t row, int64_t rows) {
    values_to_f32(tensor.type, tensor.data.data() + static_cast<size_t>(stored) * row_bytes, rows * cols,
                  out + row * cols);
  });
  return {};
}

Status Checkpoint::read_rows_raw(const CheckpointTensor& tensor, int64_t begin, int64_t end,
                                 void* out) const {
  check_range(tensor, begin, end);
  if (is_block_type(tensor.type)) {
    return unsupported(tensor.file + ": tensor " + tensor.name + ": expected a type of plain values, found " +
                       dtype_name(tensor.type));
  }
  if (random_seed_) {
    random_rows_bf16(tensor, *random_seed_, begin, end, static_cast<uint16_t*>(out));
    return {};
  }
  const size_t row_bytes = dtype_bytes(tensor.type, static_cast<size_t>(tensor.cols()));
  for_stored_runs(tensor, begin, end, [&](int64_t stored, int64_t row, int64_t rows) {
    const size_t bytes = static_cast<size_t>(rows) * row_bytes;
    if (bytes == 0) return;
    std::memcpy(static_cast<uint8_t*>(out) + static_cast<size_t>(row) * row_bytes,
                tensor.data.data() + static_cast<size_t>(stored) * row_bytes, bytes);
  });
  return {};
}

std::vector<std::string> linear_modules(const ModelConfig& config) {
  std::vector<std::string> modules;
  for (int32_t i = 0; i < config.n_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i);
    for (const char* name : {".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj",
                             ".self_attn.o_proj", ".mlp.gate_proj", ".mlp.up_proj", ".mlp.down_proj"}) {
      modules.push_back(layer + name);
    }
  }
  return modules;
}

std::pair<int64_t, int64_t> linear_shape(const ModelConfig& config, const std::string& module) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t q = int64_t{config.n_heads} * config.head_dim,
                kv = int64_t{config.n_kv_heads} * config.head_dim;
  const std::string name = module.substr(module.rfind('.') + 1);
  if (name == "q_proj") return {q, hidden};
  if (name == "k_proj" || name == "v_proj") return {kv, hidden};
  if (name == "o_proj") return {hidden, q};
  if (name == "gate_proj" || name == "up_proj") return {inner, hidden};
  if (name == "down_proj") return {hidden, inner};
  OCTET_CHECK(name == "lm_head") << "no linear module: " << module;
  return {config.vocab_size, hidden};
}

}  // namespace octet
