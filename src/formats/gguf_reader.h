// The cursor with which GGUF's bytes are read.
#pragma once

#include <cstring>
#include <span>
#include <string_view>

#include "formats/gguf.h"

namespace octet {

// A cursor that cannot leave its bytes: reading past the end gives zeros and sets failed().
class GgufReader {
 public:
  explicit GgufReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  T read() {
    T value{};
    if (const auto bytes = take(sizeof(T)); !failed_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  std::span<const uint8_t> take(uint64_t n) {
    if (n > bytes_.size() - position_) {
      failed_ = true;
      return {};
    }
    const auto taken = bytes_.subspan(position_, n);
    position_ += n;
    return taken;
  }
  std::string_view read_string() {
    const auto bytes = take(read<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool failed() const { return failed_; }
  size_t position() const { return position_; }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

// Bytes of one value; 0 for strings and arrays.
size_t gguf_scalar_bytes(GgufType type);
// A value of any type but arrays.
GgufValue read_gguf_value(GgufReader& reader, GgufType type);

}  // namespace octet
