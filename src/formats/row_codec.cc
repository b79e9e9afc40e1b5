#include "formats/row_codec.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "tensor/quant_codec.h"

namespace octet {
namespace {

// Loops of a constant length, which compilers turn into vector code without a remainder.
constexpr int64_t kChunk = 64;

template <typename T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Branch-free f16_to_f32: shifting the exponent into place leaves it 112 too small, which a multiplication
// corrects for subnormals, too. What lands at 2^16 or above was infinity or NaN.
float half_to_float(uint16_t v) {
  const float magnitude = std::bit_cast<float>(static_cast<uint32_t>(v & 0x7fffu) << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 65536.0f ? 0x7f800000u : 0u;
  const uint32_t sign = static_cast<uint32_t>(v & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special | sign);
}

template <typename T, typename Convert>
void convert_values(const uint8_t* source, int64_t n, float* out, Convert convert) {
  int64_t i = 0;
  std::array<T, kChunk> chunk;
  for (; i + kChunk <= n; i += kChunk) {
    std::memcpy(chunk.data(), source + i * static_cast<int64_t>(sizeof(T)), sizeof(chunk));
    for (size_t j = 0; j < kChunk; ++j) out[i + static_cast<int64_t>(j)] = convert(chunk[j]);
  }
  for (; i < n; ++i) out[i] = convert(load<T>(source + i * static_cast<int64_t>(sizeof(T))));
}

std::array<float, 256> e4m3_table() {
  std::array<float, 256> table;
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = e4m3_to_f32(static_cast<uint8_t>(i));
  return table;
}

float load_half(const uint8_t* p) {
  return half_to_float(load<uint16_t>(p));
}

void q8_0_block(const uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

void q4_0_block(const uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block[2 + i] & 0xf) - 8);
    out[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

void q4_1_block(const uint8_t* block, float* out) {
  const float d = load_half(block), m = load_half(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block[4 + i] & 0xf) + m;
    out[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
  }
}

// Bit 4 of value i is bit i of `high`.
int fifth_bit(uint32_t high, int i) {
  return static_cast<int>((high >> i) & 1) << 4;
}

void q5_0_block(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const auto high = load<uint32_t>(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(((block[6 + i] & 0xf) | fifth_bit(high, i)) - 16);
    out[i + 16] = d * static_cast<float>(((block[6 + i] >> 4) | fifth_bit(high, i + 16)) - 16);
  }
}

void q5_1_block(const uint8_t* block, float* out) {
  const float d = load_half(block), m = load_half(block + 2);
  const auto high = load<uint32_t>(block + 4);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block[8 + i] & 0xf) | fifth_bit(high, i)) + m;
    out[i + 16] = d * static_cast<float>((block[8 + i] >> 4) | fifth_bit(high, i + 16)) + m;
  }
}

// The 2-bit codes of Q2_K and Q3_K: parts of 32 values, four of which share 32 bytes.
int two_bits(const uint8_t* codes, int part, int i) {
  return (codes[part / 4 * 32 + i] >> (part % 4 * 2)) & 3;
}

void q2_k_block(const uint8_t* block, float* out) {
  const float d = load_half(block + 80), dmin = load_half(block + 82);
  for (int part = 0; part < 8; ++part) {
    for (int i = 0; i < 32; ++i) {
      const uint8_t scale = block[part * 2 + i / 16];
      out[part * 32 + i] =
          d * static_cast<float>(scale & 0xf) * static_cast<float>(two_bits(block + 16, part, i)) -
          dmin * static_cast<float>(scale >> 4);
    }
  }
}

// Scale `i` of sixteen: its low 4 bits in bytes 0-7 (the second eight in the high nibbles), its high 2 bits
// in bytes 8-11, four scales a byte: i % 4 is the byte, i / 4 the pair.
int q3_k_scale(const uint8_t* scales, int i) {
  const int low = (scales[i % 8] >> (i / 8 * 4)) & 0xf, high = (scales[8 + i % 4] >> (i / 4 * 2)) & 3;
  return (low | high << 4) - 32;
}

void q3_k_block(const uint8_t* block, float* out) {
  const float d = load_half(block + 108);
  for (int part = 0; part < 8; ++part) {
    for (int i = 0; i < 32; ++i) {
      const int third = (block[i] >> part) & 1;
      const float scale = d * static_cast<float>(q3_k_scale(block + 96, part * 2 + i / 16));
      out[part * 32 + i] = scale * static_cast<float>((two_bits(block + 32, part, i) | third << 2) - 4);
    }
  }
}

// Scale and minimum `i` of eight: the first four in the low 6 bits of bytes 0-3 and 4-7; the others' low 4
// bits in bytes 8-11, their high 2 bits on top of the first.
void q4_k_scale(const uint8_t* scales, int i, float* scale, float* minimum) {
  if (i < 4) {
    *scale = static_cast<float>(scales[i] & 63);
    *minimum = static_cast<float>(scales[i + 4] & 63);
  } else {
    *scale = static_cast<float>((scales[i + 4] & 0xf) | ((scales[i - 4] >> 6) << 4));
    *minimum = static_cast<float>((scales[i + 4] >> 4) | ((scales[i] >> 6) << 4));
  }
}

// Q4_K, and Q5_K with a fifth bit of every value: bit `part` of high[i].
void q45_k_block(const uint8_t* block, const uint8_t* high, const uint8_t* codes, float* out) {
  const float d = load_half(block), dmin = load_half(block + 2);
  for (int part = 0; part < 8; ++part) {  // 32 values each; two parts share 32 bytes
    float scale = 0, minimum = 0;
    q4_k_scale(block + 4, part, &scale, &minimum);
    const float step = d * scale, offset = dmin * minimum;
    const uint8_t* q = codes + part / 2 * 32;
    const int shift = part % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int fifth = high != nullptr ? (high[i] >> part & 1) << 4 : 0;
      out[part * 32 + i] = step * static_cast<float>(((q[i] >> shift) & 0xf) | fifth) - offset;
    }
  }
}

void q4_k_block(const uint8_t* block, float* out) {
  q45_k_block(block, nullptr, block + 16, out);
}

void q5_k_block(const uint8_t* block, float* out) {
  q45_k_block(block, block + 16, block + 48, out);
}

void q6_k_block(const uint8_t* block, float* out) {
  const float d = load_half(block + 208);
  for (int half = 0; half < 2; ++half) {  // 128 values each
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    for (int part = 0; part < 4; ++part) {  // 32 values each
      for (int i = 0; i < 32; ++i) {
        const int nibble = (low[part % 2 * 32 + i] >> (part / 2 * 4)) & 0xf;
        const int pair = (high[i] >> (part * 2)) & 3;
        const auto scale = static_cast<int8_t>(block[192 + half * 8 + part * 2 + i / 16]);
        out[half * 128 + part * 32 + i] =
            d * static_cast<float>(scale) * static_cast<float>((nibble | pair << 4) - 32);
      }
    }
  }
}

template <typename Block>
void convert_blocks(DType type, const uint8_t* source, int64_t n, float* out, Block block) {
  const auto& info = dtype_info(type);
  for (int64_t i = 0; i < n / info.block_values; ++i) {
    block(source + i * info.block_bytes, out + i * info.block_values);
  }
}

}  // namespace

void values_to_f32(DType type, const uint8_t* source, int64_t n, float* out) {
  OCTET_CHECK(n % dtype_info(type).block_values == 0) << "whole blocks of " << dtype_name(type);
  const auto plain = [](auto v) { return static_cast<float>(v); };
  switch (type) {
    case DType::kF32:
      if (n > 0) std::memcpy(out, source, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::kF16:
      return convert_values<uint16_t>(source, n, out, half_to_float);
    case DType::kBF16:
      return convert_values<uint16_t>(source, n, out, bf16_to_f32);
    case DType::kF8E4M3: {
      static const std::array<float, 256> kTable = e4m3_table();
      return convert_values<uint8_t>(source, n, out, [](uint8_t v) { return kTable[v]; });
    }
    case DType::kI8:
      return convert_values<int8_t>(source, n, out, plain);
    case DType::kU8:
    case DType::kBool:
      return convert_values<uint8_t>(source, n, out, plain);
    case DType::kI32:
      return convert_values<int32_t>(source, n, out, plain);
    case DType::kI64:
      return convert_values<int64_t>(source, n, out, plain);
    case DType::kQ8_0:
      return convert_blocks(type, source, n, out, q8_0_block);
    case DType::kQ4_0:
      return convert_blocks(type, source, n, out, q4_0_block);
    case DType::kQ4_1:
      return convert_blocks(type, source, n, out, q4_1_block);
    case DType::kQ5_0:
      return convert_blocks(type, source, n, out, q5_0_block);
    case DType::kQ5_1:
      return convert_blocks(type, source, n, out, q5_1_block);
    case DType::kQ2_K:
      return convert_blocks(type, source, n, out, q2_k_block);
    case DType::kQ3_K:
      return convert_blocks(type, source, n, out, q3_k_block);
    case DType::kQ4_K:
      return convert_blocks(type, source, n, out, q4_k_block);
    case DType::kQ5_K:
      return convert_blocks(type, source, n, out, q5_k_block);
    case DType::kQ6_K:
      return convert_blocks(type, source, n, out, q6_k_block);
  }
}

}  // namespace octet
