#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "formats/json_fields.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<std::string_view, DType>, 9> kTypes = {{
    {"F32", DType::kF32},
    {"F16", DType::kF16},
    {"BF16", DType::kBF16},
    {"F8_E4M3", DType::kF8E4M3},
    {"I8", DType::kI8},
    {"U8", DType::kU8},
    {"I32", DType::kI32},
    {"I64", DType::kI64},
    {"BOOL", DType::kBool},
}};

Result<DType> dtype_by_name(std::string_view name) {
  std::string known;
  for (const auto& [text, type] : kTypes) {
    if (name == text) return type;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  return unsupported("dtype: expected one of " + known + ", found \"" + std::string(name) + "\"");
}

Status read_shape(simdjson::dom::element value, std::vector<int64_t>* shape) {
  simdjson::dom::array dims;
  if (value.get(dims) != simdjson::SUCCESS) return corrupt("shape: expected a list of sizes");
  for (const auto dim : dims) {
    int64_t size = 0;
    if (dim.get(size) != simdjson::SUCCESS || size < 0) return corrupt("shape: expected sizes of at least 0");
    shape->push_back(size);
  }
  return {};
}

// Bytes that `shape` takes, or false where they are more than 2^63. Of a shape with a 0 in it the other sizes
// have to fit, too: whoever multiplies some of them must not overflow.
bool bytes_of(DType type, const std::vector<int64_t>& shape, int64_t* bytes) {
  int64_t product = dtype_info(type).block_bytes;
  bool overflow = false, empty = false;
  for (const int64_t dim : shape) {
    overflow |= __builtin_mul_overflow(product, std::max<int64_t>(dim, 1), &product);
    empty |= dim == 0;
  }
  *bytes = empty ? 0 : product;
  return !overflow;
}

Status read_entry(simdjson::dom::element value, size_t data_size, SafetensorsEntry* entry) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS)
    return corrupt("expected an object with dtype, shape and data_offsets");
  std::string_view dtype;
  if (object["dtype"].get(dtype) != simdjson::SUCCESS) return corrupt("dtype: expected a string");
  OCTET_ASSIGN_OR_RETURN(entry->type, dtype_by_name(dtype));
  simdjson::dom::element shape;
  if (object["shape"].get(shape) != simdjson::SUCCESS) return corrupt("shape: expected a list of sizes");
  OCTET_RETURN_IF_ERROR(read_shape(shape, &entry->shape));

  simdjson::dom::array offsets;
  uint64_t begin = 0, end = 0;
  if (object["data_offsets"].get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
      offsets.at(0).get(begin) != simdjson::SUCCESS || offsets.at(1).get(end) != simdjson::SUCCESS) {
    return corrupt("data_offsets: expected [begin, end]");
  }
  const std::string found = "[" + std::to_string(begin) + ", " + std::to_string(end) + "]";
  if (begin > end || end > data_size) {
    return corrupt("data_offsets: expected a range of the " + std::to_string(data_size) +
                   " bytes of data that the file has, found " + found + "; is the file truncated?");
  }
  int64_t bytes = 0;
  if (!bytes_of(entry->type, entry->shape, &bytes) || static_cast<uint64_t>(bytes) != end - begin) {
    return corrupt("data_offsets: expected the bytes that dtype and shape take, found " + found);
  }
  entry->begin = begin;
  entry->end = end;
  return {};
}

// Tensors in the order of their bytes have to follow each other without overlap or gap, up to the file's end.
Status check_layout(std::vector<SafetensorsEntry>& entries, size_t data_size) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  size_t expected = 0;
  for (const auto& entry : entries) {
    if (entry.begin != expected) {
      return corrupt("tensor " + entry.name + ": expected to begin at byte " + std::to_string(expected) +
                     " of the data, where the one before it ends, found " + std::to_string(entry.begin) +
                     (entry.begin < expected ? " (overlapping tensors)" : " (a gap)"));
    }
    expected = entry.end;
  }
  if (expected != data_size) {
    return corrupt("expected " + std::to_string(expected) + " bytes of data, found " +
                   std::to_string(data_size));
  }
  return {};
}

Result<std::vector<SafetensorsEntry>> parse_header(std::span<const uint8_t> bytes) {
  uint64_t header_size = 0;
  if (bytes.size() < sizeof(header_size)) {
    return corrupt("expected a safetensors file, found " + std::to_string(bytes.size()) + " bytes");
  }
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  const size_t rest = bytes.size() - sizeof(header_size);
  if (header_size > kMaxSafetensorsHeader || header_size > rest) {
    return corrupt("header: expected at most " + std::to_string(std::min(kMaxSafetensorsHeader, rest)) +
                   " bytes, found a size of " + std::to_string(header_size) +
                   "; the file is truncated or not safetensors");
  }
  const size_t data_size = rest - header_size;

  simdjson::dom::parser parser;
  simdjson::dom::object header;
  const auto error =
      parser.parse(bytes.data() + sizeof(header_size), header_size, /*realloc_if_needed=*/true).get(header);
  if (error != simdjson::SUCCESS) {
    return corrupt(std::string("header: expected a JSON object, found: ") + simdjson::error_message(error));
  }
  std::vector<SafetensorsEntry> entries;
  std::set<std::string, std::less<>> names;
  for (const auto field : header) {
    if (field.key == "__metadata__") continue;
    SafetensorsEntry entry{std::string(field.key)};
    if (!names.insert(entry.name).second) return corrupt("tensor " + entry.name + ": is there twice");
    if (Status status = read_entry(field.value, data_size, &entry); !status.ok()) {
      return status.with_context("tensor " + entry.name);
    }
    entries.push_back(std::move(entry));
  }
  OCTET_RETURN_IF_ERROR(check_layout(entries, data_size));
  for (auto& entry : entries) {
    entry.begin += sizeof(header_size) + header_size;
    entry.end += sizeof(header_size) + header_size;
  }
  return entries;
}

Result<SafetensorsFile> open_file(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(auto file, MappedFile::open(path.string()));
  OCTET_ASSIGN_OR_RETURN(auto entries, parse_safetensors(file->bytes(), path.string()));
  return SafetensorsFile{std::move(file), std::move(entries)};
}

Result<std::vector<SafetensorsFile>> open_sharded(const fs::path& folder, const fs::path& index_path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(index_path.string(), kMaxJsonBytes));
  OCTET_ASSIGN_OR_RETURN(const auto index, parse_safetensors_index(text, index_path.string()));
  std::set<std::string> file_names;
  for (const auto& [tensor, file] : index) file_names.insert(file);

  std::vector<SafetensorsFile> files;
  std::map<std::string, std::string> found;  // tensor -> file
  for (const auto& name : file_names) {
    OCTET_ASSIGN_OR_RETURN(auto file, open_file(folder / name));
    for (const auto& entry : file.entries) {
      const auto [it, inserted] = found.emplace(entry.name, name);
      if (!inserted) {
        return corrupt(file.file->path() + ": tensor " + entry.name + ": is also in " + it->second);
      }
    }
    files.push_back(std::move(file));
  }
  for (const auto& [tensor, file] : index) {
    const auto it = found.find(tensor);
    if (it == found.end() || it->second != file) {
      return corrupt(index_path.string() + ": tensor " + tensor + ": expected in " + file + ", found " +
                     (it == found.end() ? "nowhere" : "in " + it->second));
    }
  }
  return files;
}

}  // namespace

std::string_view safetensors_dtype_name(DType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  return {};
}

Result<std::vector<SafetensorsEntry>> parse_safetensors(std::span<const uint8_t> bytes,
                                                        const std::string& file) {
  auto entries = parse_header(bytes);
  if (!entries.ok()) return entries.status().with_context(file);
  return entries;
}

Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   const std::string& file) {
  OCTET_ASSIGN_OR_RETURN(const auto json, parse_json(text, file));
  const JsonFields fields(json, file);
  OCTET_RETURN_IF_ERROR(fields.status());
  const auto* weight_map = fields.find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object() || weight_map->empty()) {
    return corrupt(file + ": weight_map: expected an object of tensor and file names");
  }
  std::map<std::string, std::string> index;
  for (const auto& [tensor, value] : weight_map->items()) {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    // A name, not a path: an index may not reach out of its folder.
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      return corrupt(file + ": weight_map: " + tensor +
                     ": expected the name of a file in this folder, found " + brief(value));
    }
    index[tensor] = name;
  }
  return index;
}

Result<std::vector<SafetensorsFile>> open_safetensors_folder(const std::string& folder) {
  const fs::path root(folder);
  std::error_code ignored;
  fs::path only;
  if (fs::exists(root / "model.safetensors", ignored)) {
    only = root / "model.safetensors";
  } else if (fs::exists(root / "model.safetensors.index.json", ignored)) {
    return open_sharded(root, root / "model.safetensors.index.json");
  } else {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(root, ignored)) {
      if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
    }
    if (found.empty()) {
      return not_found(folder +
                       ": expected model.safetensors or model.safetensors.index.json, found neither");
    }
    if (found.size() > 1) {
      return invalid_argument(folder + ": " + std::to_string(found.size()) +
                              " files of safetensors and no model.safetensors.index.json that orders them");
    }
    only = found[0];
  }
  OCTET_ASSIGN_OR_RETURN(auto file, open_file(only));
  std::vector<SafetensorsFile> files;
  files.push_back(std::move(file));
  return files;
}

}  // namespace octet
