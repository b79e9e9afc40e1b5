// The tokenizer.ggml.* metadata of a trusted GGUF v3 file, for tests of this folder alone: the real reader
// (formats/gguf.h) stands above it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "text/shared_data_for_test.h"
#include "text/tokenizer_spec.h"

namespace octet {

class GgufVocabularyReader {
 public:
  explicit GgufVocabularyReader(const std::string& path) : bytes_(read_file(path)) {}

  GgufVocabulary read() {
    at_ = 16;  // magic, version, tensor count
    for (uint64_t n = number<uint64_t>(); n > 0; --n) {
      const std::string key = text();
      entry(key, number<uint32_t>());
    }
    return std::move(vocabulary_);
  }

 private:
  enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string text() {
    const auto size = number<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  template <typename T>
  void id(T* out) {
    *out = static_cast<T>(number<uint32_t>());
  }

  void entry(const std::string& key, uint32_t type) {
    const std::string name = key.substr(key.rfind('.') + 1);
    GgufVocabulary& v = vocabulary_;
    if (type == kArray) {
      const auto element = number<uint32_t>();
      for (auto n = number<uint64_t>(); n > 0; --n) {
        if (name == "tokens")
          v.tokens.push_back(text());
        else if (name == "merges")
          v.merges.push_back(text());
        else if (name == "scores")
          v.scores.push_back(number<float>());
        else if (name == "token_type")
          v.types.push_back(number<int32_t>());
        else
          skip(element);
      }
    } else if (key == "tokenizer.ggml.model")
      v.model = text();
    else if (name == "pre")
      v.pre = text();
    else if (name == "bos_token_id")
      id(&v.bos_id);
    else if (name == "eos_token_id")
      id(&v.eos_id);
    else if (name == "unknown_token_id")
      id(&v.unk_id);
    else if (name == "add_bos_token")
      v.add_bos = number<uint8_t>() != 0;
    else if (name == "add_eos_token")
      v.add_eos = number<uint8_t>() != 0;
    else if (name == "add_space_prefix")
      v.add_space_prefix = number<uint8_t>() != 0;
    else
      skip(type);
  }

  void skip(uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == kString)
      text();
    else
      at_ += kSizes[type];
  }

  std::string bytes_;
  size_t at_ = 0;
  GgufVocabulary vocabulary_;
};

}  // namespace octet
