// Reads the container of GGUF v2 and v3, little-endian
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
//
//   "GGUF" u32 version, u64 tensor count, u64 metadata count
//   metadata: string key, u32 type, value        (a string is a u64 length and its bytes)
//   tensors:  string name, u32 dimensions, u64 sizes (innermost first), u32 type, u64 offset
//   padding to general.alignment (32), then the tensors' bytes, each aligned likewise
//
// Nothing is copied or allocated by a count that the file claims: values are views of its bytes.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"

namespace octet {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// An array as it lies in the file: numbers of any alignment, or strings with their lengths. Checked to be in
// bounds.
struct GgufArray {
  GgufType type = GgufType::kU8;
  uint64_t count = 0;
  std::span<const uint8_t> bytes;

  // All values, for arrays of float32, of integers that fit int32, of strings. Nothing where the type is
  // another.
  std::optional<std::vector<float>> floats() const;
  std::optional<std::vector<int32_t>> ints() const;
  std::optional<std::vector<std::string>> strings() const;
};

// Unsigned integers and signed ones, floats, booleans, text, arrays.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

struct GgufTensor {
  std::string name;
  DType type = DType::kF32;
  std::vector<int64_t> shape;  // outermost first, the reverse of the file
  std::span<const uint8_t> data;
};

struct GgufFile {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;

  // Null where the key is absent or its value of another kind.
  const GgufValue* find(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;  // of any integer type
  std::optional<double> number(std::string_view key) const;    // of any numeric type
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  const GgufArray* array(std::string_view key) const;
};

// `bytes` outlives the result; `file` is for messages. Errors: kCorrupt, kUnsupported (version, byte order,
// type).
Result<GgufFile> parse_gguf(std::span<const uint8_t> bytes, const std::string& file);

}  // namespace octet
