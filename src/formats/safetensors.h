// Reads safetensors (https://github.com/huggingface/safetensors#format): a little-endian u64 with the size of
// the header, the header as JSON {"name": {"dtype", "shape", "data_offsets": [begin, end)}, "__metadata__":
// {...}}, then the tensors' bytes. As in the reference library, tensors cover the bytes after the header
// exactly: no overlap, no gap.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace octet {

inline constexpr size_t kMaxSafetensorsHeader = 100'000'000;  // the format's own limit

struct SafetensorsEntry {
  std::string name;
  DType type = DType::kF32;
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;  // of the file's bytes; of any alignment
};

// `bytes` is the whole file, `file` its name for messages. Errors: kCorrupt, kUnsupported (a dtype not read
// here).
Result<std::vector<SafetensorsEntry>> parse_safetensors(std::span<const uint8_t> bytes,
                                                        const std::string& file);

// model.safetensors.index.json: tensor name -> name of the file in the same folder that holds it.
Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   const std::string& file);

// dtype's name in a header; empty for types that the format does not have.
std::string_view safetensors_dtype_name(DType type);

struct SafetensorsFile {
  std::shared_ptr<MappedFile> file;
  std::vector<SafetensorsEntry> entries;
};

// All files of a model folder: model.safetensors, or those of model.safetensors.index.json, or the only
// *.safetensors there is. Names are unique over all files and each tensor of the index is where the index
// says.
Result<std::vector<SafetensorsFile>> open_safetensors_folder(const std::string& folder);

}  // namespace octet
