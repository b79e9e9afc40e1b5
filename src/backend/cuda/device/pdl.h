// Programmatic dependent launch: a kernel may start while the one before it still runs, do what needs none of
// that one's results, and then wait for them.
#pragma once

#include <utility>

#include <cuda_runtime.h>

namespace octet::cuda {

#if defined(__CUDACC__)
// Everything that the kernels before this one wrote can be read from here on.
__device__ __forceinline__ void wait_for_previous_kernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
// The next kernel may start. Called after the wait, so that kernels two apart never overlap.
__device__ __forceinline__ void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
#endif

// kernel<<<grid, block, shared_bytes, stream>>>(args...) that may overlap the kernel before it. Errors are
// left for cudaGetLastError.
template <class... Params, class... Args>
void launch_dependent(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                      cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...);
}

}  // namespace octet::cuda
