// Element types of tensors, in memory and in files. Block types (Q8_0, Q4_K, ...) are GGUF's: read, never
// computed with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace octet {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kI8,
  kU8,
  kI32,
  kI64,
  kBool,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,  // 32 or 256 values a block, with their scales inside it
};

struct DTypeInfo {
  const char* name;  // as users know it: "bf16", "q4_k"
  int block_values;  // 1 for plain types
  int block_bytes;
};

const DTypeInfo& dtype_info(DType type);
inline const char* dtype_name(DType type) {
  return dtype_info(type).name;
}
inline bool is_block_type(DType type) {
  return dtype_info(type).block_values > 1;
}

// Bytes of `n` values; n must be a multiple of the type's block.
inline size_t dtype_bytes(DType type, size_t n) {
  const auto& info = dtype_info(type);
  return n / static_cast<size_t>(info.block_values) * static_cast<size_t>(info.block_bytes);
}

}  // namespace octet
