#include <limits>

#include "formats/gguf_reader.h"

namespace octet {

size_t gguf_scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

GgufValue read_gguf_value(GgufReader& reader, GgufType type) {
  switch (type) {
    case GgufType::kU8:
      return uint64_t{reader.read<uint8_t>()};
    case GgufType::kI8:
      return int64_t{reader.read<int8_t>()};
    case GgufType::kU16:
      return uint64_t{reader.read<uint16_t>()};
    case GgufType::kI16:
      return int64_t{reader.read<int16_t>()};
    case GgufType::kU32:
      return uint64_t{reader.read<uint32_t>()};
    case GgufType::kI32:
      return int64_t{reader.read<int32_t>()};
    case GgufType::kF32:
      return double{reader.read<float>()};
    case GgufType::kBool:
      return reader.read<uint8_t>() != 0;
    case GgufType::kU64:
      return reader.read<uint64_t>();
    case GgufType::kI64:
      return reader.read<int64_t>();
    case GgufType::kF64:
      return reader.read<double>();
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return reader.read_string();
}

std::optional<std::vector<float>> GgufArray::floats() const {
  if (type != GgufType::kF32) return std::nullopt;
  std::vector<float> values(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::optional<std::vector<int32_t>> GgufArray::ints() const {
  if (type == GgufType::kString || type == GgufType::kF32 || type == GgufType::kF64) return std::nullopt;
  std::vector<int32_t> values;
  values.reserve(count);
  GgufReader reader(bytes);
  for (uint64_t i = 0; i < count; ++i) {
    const GgufValue value = read_gguf_value(reader, type);
    int64_t number = 0;
    if (const auto* u = std::get_if<uint64_t>(&value))
      number = *u > INT32_MAX ? int64_t{INT32_MAX} + 1 : static_cast<int64_t>(*u);
    if (const auto* s = std::get_if<int64_t>(&value)) number = *s;
    if (const auto* b = std::get_if<bool>(&value)) number = *b ? 1 : 0;
    if (number < INT32_MIN || number > INT32_MAX) return std::nullopt;
    values.push_back(static_cast<int32_t>(number));
  }
  return values;
}

std::optional<std::vector<std::string>> GgufArray::strings() const {
  if (type != GgufType::kString) return std::nullopt;
  std::vector<std::string> values;
  values.reserve(count);
  GgufReader reader(bytes);
  for (uint64_t i = 0; i < count; ++i) values.emplace_back(reader.read_string());
  return values;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : &it->second;
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* u = std::get_if<uint64_t>(value)) {
    if (*u > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(*u);
  }
  if (const auto* s = std::get_if<int64_t>(value)) return *s;
  return std::nullopt;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* d = std::get_if<double>(value)) return *d;
  if (const auto i = integer(key)) return static_cast<double>(*i);
  return std::nullopt;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* b = value == nullptr ? nullptr : std::get_if<bool>(value);
  return b == nullptr ? std::nullopt : std::optional(*b);
}

std::optional<std::string> GgufFile::text(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* s = value == nullptr ? nullptr : std::get_if<std::string_view>(value);
  return s == nullptr ? std::nullopt : std::optional(std::string(*s));
}

const GgufArray* GgufFile::array(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? nullptr : std::get_if<GgufArray>(value);
}

}  // namespace octet
