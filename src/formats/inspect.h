// What `octet inspect` tells about a checkpoint, as data. The memory that serving needs depends on the
// backend and is not here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "formats/checkpoint.h"

namespace octet {

struct Inspection {
  struct Type {
    std::string name;  // "bf16", "q4_k"
    int64_t tensors = 0, values = 0, bytes = 0;
  };
  struct Scheme {
    std::string name;     // the user's name where there is one: "int8-minmax"
    int64_t modules = 0;  // linear modules, the head included
    std::string first;    // the first of them
  };

  std::string path, format;
  ModelConfig config;
  int64_t parameters = 0;
  int64_t file_bytes = 0;       // of the files that hold tensors; 0 for random weights
  std::vector<Type> types;      // by bytes, the largest first
  std::vector<Scheme> schemes;  // by modules, the most used first
  std::optional<QuantizationRecord> record;
  std::string kv_cache;   // what the checkpoint asks for, empty where it says nothing
  std::string tokenizer;  // "tokenizer.json", "gguf: gpt2/smollm, 49152 tokens" or "none"
  bool chat_template = false;
};

Inspection inspect(const Checkpoint& checkpoint);

// Flat fields with the names of this struct and of config.json.
nlohmann::json to_json(const Inspection& inspection);
// A table for people, lines ending in '\n'.
std::string to_text(const Inspection& inspection);

}  // namespace octet
