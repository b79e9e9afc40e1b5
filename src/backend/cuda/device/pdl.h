// Programmatic dependent launch: a kernel may start while the one before it still runs, do what needs none of
// that one's results, and then wait for them.
//
// A kernel lets the next one start before it waits itself, so a line of kernels stands ready behind the one
// that runs. That is safe since each of them waits, and one that waited for a kernel has all the results of
// those before it too. What a kernel reads before its wait must therefore be written by no kernel of the
// step. (Decode attention reads the older tokens of the cache: a page is shared from the step after the one
// that filled it.)
#pragma once

#include <utility>

#include <cuda_runtime.h>

namespace octet::cuda {

#if defined(__CUDACC__)
// Everything that the kernels before this one wrote can be read from here on.
__device__ __forceinline__ void wait_for_previous_kernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
// Brings the line at `p`, which no kernel of the step writes, near before a wait.
__device__ __forceinline__ void prefetch_l1(const void* p) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(p));
}
// The next kernel may start, once every block has called this (one thread is enough) or ended. Called before
// the wait: first, or after what a block fetches early.
__device__ __forceinline__ void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
#endif

// kernel<<<grid, block, shared_bytes, stream>>>(args...) that may overlap the kernel before it, in clusters
// of `cluster` blocks. Errors are left for cudaGetLastError.
template <class... Params, class... Args>
void launch_dependent_clusters(void (*kernel)(Params...), dim3 grid, unsigned cluster, dim3 block,
                               size_t shared_bytes, cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...);
}
template <class... Params, class... Args>
void launch_dependent(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                      cudaStream_t stream, Args&&... args) {
  launch_dependent_clusters(kernel, grid, 1, block, shared_bytes, stream, std::forward<Args>(args)...);
}

}  // namespace octet::cuda
