// Reading rows that may begin at any element.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace octet::cuda {

// Two neighbours; rows may begin at any element.
__device__ __forceinline__ uint32_t load_pair(const __nv_bfloat16* at) {
  if (reinterpret_cast<uintptr_t>(at) % 4 == 0) return *reinterpret_cast<const uint32_t*>(at);
  return __bfloat16_as_ushort(at[0]) | static_cast<uint32_t>(__bfloat16_as_ushort(at[1])) << 16;
}

}  // namespace octet::cuda
