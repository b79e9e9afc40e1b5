// Barriers and copies on the CPU: see backend/cuda/emulation/emulator.h.
#pragma once

#include "backend/cuda/emulation/emulator.h"

namespace octet::cuda {
namespace emulation {

struct MemoryBarrier {
  int32_t arrivals = 0, pending = 0;
  int64_t bytes = 0;
  uint32_t phase = 0;

  void end_phase() {
    if (pending < 0) fail("more arrivals at a barrier than it was made for");
    if (pending > 0 || bytes != 0) return;
    phase ^= 1;
    pending = arrivals;
    moved();
  }
};
inline MemoryBarrier& memory_barrier(uint32_t address) {
  static std::array<MemoryBarrier, kSharedBytes / 8> all;
  if (address % 8 != 0) fail("a barrier at a crooked address");
  return all[address / 8];
}

}  // namespace emulation

inline uint8_t* dynamic_shared_memory() {
  return emulation::shared_memory();
}
inline uint32_t shared_address(const void* p) {
  const ptrdiff_t offset = static_cast<const uint8_t*>(p) - emulation::shared_memory();
  if (offset < 0 || offset >= static_cast<ptrdiff_t>(emulation::kSharedBytes))
    emulation::fail("not shared memory");
  return static_cast<uint32_t>(offset);
}

inline void barrier_init(uint32_t barrier, uint32_t arrivals) {
  const auto n = static_cast<int32_t>(arrivals);
  emulation::memory_barrier(barrier) = {n, n, 0, 0};
}
inline void barrier_init_fence() {}
inline void barrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  emulation::MemoryBarrier& b = emulation::memory_barrier(barrier);
  b.bytes += bytes;
  --b.pending;
  b.end_phase();
}
inline void barrier_arrive(uint32_t barrier) {
  barrier_arrive_expect(barrier, 0);
}
inline void barrier_wait(uint32_t barrier, uint32_t phase) {
  while (emulation::memory_barrier(barrier).phase == phase) emulation::yield();
}

inline uint64_t evict_first_policy() {
  return 0;
}
inline uint64_t evict_last_policy() {
  return 0;
}
inline uint64_t evict_normal_policy() {
  return 0;
}
inline void bulk_copy(uint32_t shared, const void* global, uint32_t bytes, uint32_t barrier,
                      uint64_t /*policy*/ = 0) {
  if (bytes == 0 || bytes % 16 != 0 || shared % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0)
    emulation::fail("a bulk copy of a size or from an address that is no multiple of 16");
  emulation::later([=] {
    std::memcpy(emulation::shared_memory() + shared, global, bytes);
    emulation::MemoryBarrier& b = emulation::memory_barrier(barrier);
    b.bytes -= bytes;
    b.end_phase();
  });
}

namespace emulation {
inline int& open_copies() {  // of this thread
  static std::array<int, 1024> all;
  return all[static_cast<size_t>(thread().index)];
}
}  // namespace emulation
inline void copy_async(uint32_t shared, const void* global, bool exists) {
  if (shared % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0)
    emulation::fail("an asynchronous copy from or to an address that is no multiple of 16");
  int& open = emulation::open_copies();
  ++open;
  emulation::later([=, &open] {
    if (exists)
      std::memcpy(emulation::shared_memory() + shared, global, 16);
    else
      std::memset(emulation::shared_memory() + shared, 0, 16);
    --open;
  });
}
inline void await_copies() {
  while (emulation::open_copies() > 0) emulation::yield();
}

inline void async_proxy_fence() {}
inline void named_barrier_sync(uint32_t id, uint32_t threads) {
  emulation::named_barrier(id, threads, true);
}
inline void named_barrier_arrive(uint32_t id, uint32_t threads) {
  emulation::named_barrier(id, threads, false);
}

}  // namespace octet::cuda
