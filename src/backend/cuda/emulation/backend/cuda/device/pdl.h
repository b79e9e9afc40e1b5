// Launches on the CPU: see backend/cuda/emulation/emulator.h.
#pragma once

#include "backend/cuda/emulation/emulator.h"

namespace octet::cuda {

inline void wait_for_previous_kernel() {}
inline void let_next_kernel_start() {}
inline void prefetch_l1(const void*) {}

template <class... Params, class... Args>
void launch_dependent(void (*kernel)(Params...), dim3 grid, dim3 block, size_t, cudaStream_t,
                      const Args&... args) {
  emulation::run(grid, block, [&] { kernel(static_cast<Params>(args)...); });
}
template <class... Params, class... Args>
void launch_dependent_clusters(void (*kernel)(Params...), dim3 grid, unsigned, dim3 block,
                               size_t shared_bytes, cudaStream_t stream, const Args&... args) {
  launch_dependent(kernel, grid, block, shared_bytes, stream, args...);
}

}  // namespace octet::cuda
