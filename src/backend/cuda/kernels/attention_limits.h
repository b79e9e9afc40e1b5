// Sizes of the attention kernels that their host side needs too.
#pragma once

#include <cstdint>

namespace octet::cuda {

inline constexpr int32_t kPrefillRows = 128, kPrefillKeys = 128;  // of a tile of scores
inline constexpr int32_t kTileKeys = 64;                          // keys that a decoding warp takes at a time
inline constexpr int32_t kRowsPerTile = 8;  // query heads that share a decode tile: columns of mma.m16n8k16
inline constexpr int32_t kMaxDecodeSeqs = 1024;
inline constexpr int32_t kMaxHeads = 128;

}  // namespace octet::cuda
