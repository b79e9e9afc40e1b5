// Copies of 2-D boxes between global and shared memory by the tensor memory accelerator. What lies outside
// the matrix arrives as zeros, and counts as bytes all the same; it is not written.
#pragma once

#include <cstdint>

namespace octet::cuda {

__device__ __forceinline__ void prefetch_tensor_map(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The box whose first element is (column, row); it completes on `barrier`. The map lies in kernel parameters.
__device__ __forceinline__ void load_box(uint32_t shared, const void* map, int32_t column, int32_t row,
                                         uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "l"(policy)
      : "memory");
}
// The same into every CTA of the cluster that `mask` names, at the same place and on the same barrier of
// each.
__device__ __forceinline__ void load_box_multicast(uint32_t shared, const void* map, int32_t column,
                                                   int32_t row, uint32_t barrier, uint16_t mask,
                                                   uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster."
      "L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(mask), "l"(policy)
      : "memory");
}

// A box of shared memory, which async_proxy_fence made visible, to global memory.
__device__ __forceinline__ void store_box(uint32_t shared, const void* map, int32_t column, int32_t row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(column), "r"(row), "r"(shared)
               : "memory");
}
// The same, added to what is there, each element by itself, rounded to its type.
__device__ __forceinline__ void add_box(uint32_t shared, const void* map, int32_t column, int32_t row) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(
          map),
      "r"(column), "r"(row), "r"(shared)
      : "memory");
}
// Eight bf16 values added to those at `to`, a multiple of 16 bytes; rounded like add_box.
__device__ __forceinline__ void add_bf16(void* to, uint4 pairs) {
  asm volatile("red.relaxed.gpu.global.add.noftz.v4.bf16x2 [%0], {%1, %2, %3, %4};" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(pairs.x), "r"(pairs.y), "r"(pairs.z), "r"(pairs.w)
               : "memory");
}
__device__ __forceinline__ void bulk_store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until what this thread stored has been read from shared memory.
__device__ __forceinline__ void bulk_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
// Until it has been written.
__device__ __forceinline__ void bulk_store_wait() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace octet::cuda
