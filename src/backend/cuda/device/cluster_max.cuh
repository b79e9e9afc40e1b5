// A maximum over the blocks of a cluster.
#pragma once

#include "backend/cuda/device/cluster.h"
#include "backend/cuda/device/reduce.cuh"

namespace octet::cuda {

// The largest of the values that the blocks of a cluster bring; each of them is one value for all of its
// threads. Ends with an arrival at the cluster's barrier: cluster_wait before the block ends, whose `slot`
// others read.
__device__ __forceinline__ float cluster_max(float value, float* slot) {
  uint32_t blocks;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  if (threadIdx.x == 0) *slot = value;
  cluster_sync();
  const uint32_t lane = threadIdx.x % 32;
  if (lane < blocks) {
    const auto address = map_shared(static_cast<uint32_t>(__cvta_generic_to_shared(slot)), lane);
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  }
  value = warp_reduce<Max>(value);
  cluster_arrive();
  return value;
}

}  // namespace octet::cuda
