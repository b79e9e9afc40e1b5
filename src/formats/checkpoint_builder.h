// How the readers of each format make a Checkpoint.
#pragma once

#include <memory>
#include <string>

#include "formats/checkpoint.h"

namespace octet {

class CheckpointBuilder {
 public:
  CheckpointBuilder(std::string path, std::string format);

  Checkpoint& checkpoint() { return *checkpoint_; }
  void keep(std::shared_ptr<MappedFile> file) { checkpoint_->files_.push_back(std::move(file)); }
  // The tensors' values are drawn on reading; they have no data.
  void make_random(uint64_t seed) { checkpoint_->random_seed_ = seed; }
  void add(CheckpointTensor tensor);

  // Checks the tensors against the configuration.
  Result<std::shared_ptr<Checkpoint>> finish();

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
};

// The readers. `path` is a folder with a config.json, and a .gguf file.
Result<std::shared_ptr<Checkpoint>> open_hf_checkpoint(const std::string& path);
Result<std::shared_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path);

// Their tokenizers alone. Of a folder, what is there is read.
Status read_tokenizer_files(const std::string& folder, TokenizerSpec* spec);
Result<TokenizerSpec> read_gguf_tokenizer(const std::string& path);

// config.json and generation_config.json of a folder, into the checkpoint.
Status read_hf_config_files(const std::string& folder, Checkpoint* checkpoint);

}  // namespace octet
