// write_safetensors: tensors are filled in the order given; within a file those of wider types lie first, so
// that every tensor is aligned to its type (readers map them in place).
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "formats/file_output.h"
#include "formats/safetensors.h"
#include "formats/writer.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kHeaderAlignment = 8;

struct Shard {
  size_t first = 0, end = 0;     // tensors of the list
  std::vector<uint64_t> offset;  // of each of them, from the file's begin
  std::string header;            // size and JSON
};

Result<size_t> tensor_bytes(const TensorToWrite& tensor) {
  if (safetensors_dtype_name(tensor.type).empty()) {
    return invalid_argument("tensor " + tensor.name + ": safetensors has no type " + dtype_name(tensor.type));
  }
  int64_t values = 1;
  bool overflow = false;
  for (const int64_t dim : tensor.shape) overflow |= dim < 0 || __builtin_mul_overflow(values, dim, &values);
  if (overflow || values > std::numeric_limits<int64_t>::max() / 8) {
    return invalid_argument("tensor " + tensor.name + ": expected a shape of less than 2^60 values");
  }
  return dtype_bytes(tensor.type, static_cast<size_t>(values));
}

// Cuts the list where a shard would grow beyond `shard_bytes`; a larger tensor has one of its own.
std::vector<Shard> cut(const std::vector<size_t>& sizes, size_t shard_bytes) {
  std::vector<Shard> shards(1);
  size_t bytes = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (bytes > 0 && sizes[i] > shard_bytes - std::min(bytes, shard_bytes)) {
      shards.push_back({i, i});
      bytes = 0;
    }
    bytes += sizes[i];
    shards.back().end = i + 1;
  }
  return shards;
}

void lay_out(const std::vector<TensorToWrite>& tensors, const std::vector<size_t>& sizes, Shard* shard) {
  std::vector<size_t> order(shard->end - shard->first);
  std::iota(order.begin(), order.end(), shard->first);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return dtype_info(tensors[a].type).block_bytes > dtype_info(tensors[b].type).block_bytes;
  });
  ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  shard->offset.resize(order.size());
  uint64_t position = 0;
  for (const size_t i : order) {
    shard->offset[i - shard->first] = position;
    header[tensors[i].name] = {{"dtype", safetensors_dtype_name(tensors[i].type)},
                               {"shape", tensors[i].shape},
                               {"data_offsets", {position, position + sizes[i]}}};
    position += sizes[i];
  }
  std::string json = header.dump();
  json.resize((json.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const uint64_t json_size = json.size();
  shard->header.assign(reinterpret_cast<const char*>(&json_size), sizeof(json_size));
  shard->header += json;
  for (auto& offset : shard->offset) offset += shard->header.size();
}

std::string shard_name(size_t i, size_t n) {
  if (n == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, n);
  return name;
}

Status write_shard(const std::vector<TensorToWrite>& tensors, const std::vector<size_t>& sizes,
                   const Shard& shard, const std::function<void(size_t)>& on_bytes, FileOutput* file) {
  OCTET_RETURN_IF_ERROR(
      file->write_at(0, {reinterpret_cast<const uint8_t*>(shard.header.data()), shard.header.size()}));
  std::vector<uint8_t> bytes;
  for (size_t i = shard.first; i < shard.end; ++i) {
    bytes.resize(sizes[i]);
    OCTET_RETURN_IF_ERROR(tensors[i].fill(bytes));
    OCTET_RETURN_IF_ERROR(file->write_at(shard.offset[i - shard.first], bytes));
    if (on_bytes) on_bytes(bytes.size());
  }
  return {};
}

// Said before hours of work rather than after them.
Status check_space(const std::string& folder, uint64_t needed) {
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error || space.available >= needed) return {};
  return resource_exhausted(folder + ": " + std::to_string(needed >> 20) +
                            " MiB are to be written, the disk has " + std::to_string(space.available >> 20) +
                            " MiB left; free some space or write to another disk");
}

}  // namespace

Status write_safetensors(const std::string& folder, const std::vector<TensorToWrite>& tensors,
                         size_t shard_bytes, const std::function<void(size_t)>& on_bytes) {
  std::vector<size_t> sizes;
  std::set<std::string> names;
  for (const auto& tensor : tensors) {
    OCTET_ASSIGN_OR_RETURN(const size_t bytes, tensor_bytes(tensor));
    sizes.push_back(bytes);
    if (!names.insert(tensor.name).second)
      return invalid_argument("tensor " + tensor.name + ": is there twice");
  }
  const uint64_t total = std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  OCTET_RETURN_IF_ERROR(check_space(folder, total));

  auto shards = cut(sizes, shard_bytes);
  ordered_json weight_map = ordered_json::object();
  std::vector<FileOutput> files;
  files.reserve(shards.size());
  for (size_t s = 0; s < shards.size(); ++s) {
    lay_out(tensors, sizes, &shards[s]);
    const std::string name = shard_name(s, shards.size());
    OCTET_ASSIGN_OR_RETURN(auto file, FileOutput::create((fs::path(folder) / name).string()));
    OCTET_RETURN_IF_ERROR(write_shard(tensors, sizes, shards[s], on_bytes, &file));
    files.push_back(std::move(file));
    for (size_t i = shards[s].first; i < shards[s].end; ++i) weight_map[tensors[i].name] = name;
  }
  for (auto& file : files) OCTET_RETURN_IF_ERROR(file.commit());
  if (shards.size() == 1) return {};
  const ordered_json index{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return write_text_file((fs::path(folder) / "model.safetensors.index.json").string(), index.dump(2) + "\n");
}

}  // namespace octet
