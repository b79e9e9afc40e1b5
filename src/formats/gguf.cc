#include "formats/gguf.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>

#include "formats/gguf_reader.h"

namespace octet {
namespace {

constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxName = 65535;  // the format's limit for keys

struct TensorType {
  uint32_t id;
  DType type;
};
constexpr std::array<TensorType, 13> kTensorTypes = {{
    {0, DType::kF32},
    {1, DType::kF16},
    {2, DType::kQ4_0},
    {3, DType::kQ4_1},
    {6, DType::kQ5_0},
    {7, DType::kQ5_1},
    {8, DType::kQ8_0},
    {10, DType::kQ2_K},
    {11, DType::kQ3_K},
    {12, DType::kQ4_K},
    {13, DType::kQ5_K},
    {14, DType::kQ6_K},
    {30, DType::kBF16},
}};

// Names of the types that exist but are not read, for the message.
constexpr std::array<const char*, 40> kTensorTypeNames = {
    "F32",      "F16",      "Q4_0",    "Q4_1",  "Q4_2",       "Q4_3",       "Q5_0",       "Q5_1",
    "Q8_0",     "Q8_1",     "Q2_K",    "Q3_K",  "Q4_K",       "Q5_K",       "Q6_K",       "Q8_K",
    "IQ2_XXS",  "IQ2_XS",   "IQ3_XXS", "IQ1_S", "IQ4_NL",     "IQ3_S",      "IQ2_S",      "IQ4_XS",
    "I8",       "I16",      "I32",     "I64",   "F64",        "IQ1_M",      "BF16",       "Q4_0_4_4",
    "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

Status truncated(const GgufReader& reader, const std::string& what) {
  return corrupt(what + ": the file ends in it, near byte " + std::to_string(reader.position()) +
                 "; is it truncated?");
}

Result<GgufType> read_type(GgufReader& reader, const std::string& key) {
  const auto id = reader.read<uint32_t>();
  if (reader.failed()) return truncated(reader, "metadata " + key);
  if (id > static_cast<uint32_t>(GgufType::kF64)) {
    return corrupt("metadata " + key + ": expected a type of 0 to 12, found " + std::to_string(id));
  }
  return static_cast<GgufType>(id);
}

Result<GgufArray> read_array(GgufReader& reader, const std::string& key, std::span<const uint8_t> file) {
  GgufArray array;
  OCTET_ASSIGN_OR_RETURN(array.type, read_type(reader, key));
  array.count = reader.read<uint64_t>();
  const size_t begin = reader.position();
  if (array.type == GgufType::kArray)
    return unsupported("metadata " + key + ": an array of arrays is not supported");
  if (array.type == GgufType::kString) {
    for (uint64_t i = 0; i < array.count && !reader.failed(); ++i) reader.read_string();
  } else {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(array.count, gguf_scalar_bytes(array.type), &bytes)) {
      bytes = std::numeric_limits<uint64_t>::max();
    }
    reader.take(bytes);
  }
  if (reader.failed()) return truncated(reader, "metadata " + key);
  array.bytes = file.subspan(begin, reader.position() - begin);
  return array;
}

Status read_metadata(GgufReader& reader, std::span<const uint8_t> bytes, uint64_t count, GgufFile* gguf) {
  for (uint64_t i = 0; i < count; ++i) {
    const auto name = reader.read_string();
    if (reader.failed()) return truncated(reader, "metadata " + std::to_string(i));
    if (name.empty() || name.size() > kMaxName) {
      return corrupt("metadata " + std::to_string(i) + ": expected a key of 1 to 65535 bytes, found " +
                     std::to_string(name.size()));
    }
    const std::string key(name);
    OCTET_ASSIGN_OR_RETURN(const GgufType type, read_type(reader, key));
    GgufValue value;
    if (type == GgufType::kArray) {
      OCTET_ASSIGN_OR_RETURN(value, read_array(reader, key, bytes));
    } else {
      value = read_gguf_value(reader, type);
    }
    if (reader.failed()) return truncated(reader, "metadata " + key);
    if (!gguf->metadata.emplace(key, value).second) return corrupt("metadata " + key + ": is there twice");
  }
  return {};
}

Result<DType> tensor_type(uint32_t id) {
  for (const auto& known : kTensorTypes) {
    if (known.id == id) return known.type;
  }
  const std::string found =
      id < kTensorTypeNames.size() ? kTensorTypeNames[id] : "type " + std::to_string(id);
  return unsupported("expected one of F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1, Q2_K to Q6_K, found " +
                     found + "; take the model as Q8_0 or in 16 bits");
}

// The bytes of a tensor, or an error where its sizes do not fit its type or overflow.
Result<uint64_t> tensor_bytes(DType type, const std::vector<int64_t>& shape) {
  int64_t values = 1;
  bool overflow = false;
  for (const int64_t dim : shape) {
    if (dim <= 0) return corrupt("expected sizes of at least 1, found " + std::to_string(dim));
    overflow |= __builtin_mul_overflow(values, dim, &values);
  }
  const auto& info = dtype_info(type);
  // Half of the range, so that the bytes of a block never overflow either.
  if (overflow || values > std::numeric_limits<int64_t>::max() / info.block_bytes) {
    return corrupt("expected a tensor smaller than 2^63 bytes");
  }
  if (shape.back() % info.block_values != 0) {
    return corrupt(std::string("expected rows of a multiple of ") + std::to_string(info.block_values) +
                   " values for " + info.name + ", found " + std::to_string(shape.back()));
  }
  return dtype_bytes(type, static_cast<size_t>(values));
}

struct Placed {
  uint64_t offset = 0, bytes = 0;  // of the data section
};

Status read_tensor_info(GgufReader& reader, GgufTensor* tensor, Placed* place) {
  const auto dimensions = reader.read<uint32_t>();
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return reader.failed() ? truncated(reader, "its entry")
                           : corrupt("expected 1 to 4 dimensions, found " + std::to_string(dimensions));
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = reader.read<uint64_t>();
    tensor->shape.push_back(
        size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ? -1 : static_cast<int64_t>(size));
  }
  std::reverse(tensor->shape.begin(), tensor->shape.end());
  const auto type = reader.read<uint32_t>();
  place->offset = reader.read<uint64_t>();
  if (reader.failed()) return truncated(reader, "its entry");
  OCTET_ASSIGN_OR_RETURN(tensor->type, tensor_type(type));
  OCTET_ASSIGN_OR_RETURN(place->bytes, tensor_bytes(tensor->type, tensor->shape));
  return {};
}

Status check_overlaps(const std::vector<GgufTensor>& tensors) {
  std::vector<const GgufTensor*> sorted;
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->data.data() < b->data.data(); });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const auto& before = *sorted[i - 1];
    if (before.data.data() + before.data.size() > sorted[i]->data.data()) {
      return corrupt("tensor " + sorted[i]->name + ": overlaps tensor " + before.name);
    }
  }
  return {};
}

Status read_tensors(GgufReader& reader, std::span<const uint8_t> bytes, uint64_t count, uint64_t alignment,
                    GgufFile* gguf) {
  std::vector<Placed> places;
  std::set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    Placed place;
    tensor.name = std::string(reader.read_string());
    if (reader.failed()) return truncated(reader, "tensor entry " + std::to_string(i));
    if (!names.insert(tensor.name).second) return corrupt("tensor " + tensor.name + ": is there twice");
    OCTET_RETURN_IF_ERROR(read_tensor_info(reader, &tensor, &place).with_context("tensor " + tensor.name));
    if (place.offset % alignment != 0) {
      return corrupt("tensor " + tensor.name + ": offset: expected a multiple of " +
                     std::to_string(alignment) + ", found " + std::to_string(place.offset));
    }
    gguf->tensors.push_back(std::move(tensor));
    places.push_back(place);
  }
  const uint64_t data_begin = (reader.position() + alignment - 1) / alignment * alignment;
  const uint64_t data_size = data_begin < bytes.size() ? bytes.size() - data_begin : 0;
  for (size_t i = 0; i < places.size(); ++i) {
    const auto& place = places[i];
    if (place.offset > data_size || place.bytes > data_size - place.offset) {
      return corrupt("tensor " + gguf->tensors[i].name + ": expected " + std::to_string(place.bytes) +
                     " bytes at offset " + std::to_string(place.offset) + " of the data, found a file with " +
                     std::to_string(data_size) + " bytes of it; is it truncated?");
    }
    gguf->tensors[i].data = bytes.subspan(data_begin + place.offset, place.bytes);
  }
  return check_overlaps(gguf->tensors);
}

Result<GgufFile> parse(std::span<const uint8_t> bytes) {
  GgufReader reader(bytes);
  const auto magic = reader.take(4);
  if (reader.failed() || std::memcmp(magic.data(), "GGUF", 4) != 0) {
    return corrupt("expected a GGUF file, found other bytes at its begin");
  }
  GgufFile gguf;
  gguf.version = reader.read<uint32_t>();
  if (gguf.version != 2 && gguf.version != 3) {
    const bool swapped = gguf.version != 0 && (gguf.version & 0xffff) == 0;
    return unsupported(swapped ? "a big-endian GGUF file; expected little-endian"
                               : "expected GGUF version 2 or 3, found " + std::to_string(gguf.version));
  }
  const auto n_tensors = reader.read<uint64_t>();
  const auto n_metadata = reader.read<uint64_t>();
  if (reader.failed()) return truncated(reader, "the header");
  OCTET_RETURN_IF_ERROR(read_metadata(reader, bytes, n_metadata, &gguf));
  uint64_t alignment = kDefaultAlignment;
  if (gguf.find("general.alignment") != nullptr) {
    const auto value = gguf.integer("general.alignment").value_or(0);
    if (value < 1 || value > (1 << 20) || (value & (value - 1)) != 0) {
      return corrupt("metadata general.alignment: expected a power of two up to 2^20, found " +
                     std::to_string(value));
    }
    alignment = static_cast<uint64_t>(value);
  }
  OCTET_RETURN_IF_ERROR(read_tensors(reader, bytes, n_tensors, alignment, &gguf));
  return gguf;
}

}  // namespace

Result<GgufFile> parse_gguf(std::span<const uint8_t> bytes, const std::string& file) {
  auto gguf = parse(bytes);
  if (!gguf.ok()) return gguf.status().with_context(file);
  return gguf;
}

}  // namespace octet
