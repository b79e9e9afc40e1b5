// Sums and maxima over a warp and over a block, in one fixed order: the same values give the same bits.
#pragma once

#include <cstdint>

namespace octet::cuda {

struct Sum {
  template <class T>
  __device__ static T of(T a, T b) {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ static T of(T a, T b) {
    return a < b ? b : a;
  }
};

template <class Op, class T>
__device__ __forceinline__ T warp_reduce(T value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = Op::of(value, __shfl_xor_sync(~0u, value, offset));
  return value;
}

// Every thread gets the result. `scratch` has room for a value a warp; it may be used again after the next
// barrier of the block. identity: Op::of(identity, x) == x.
template <class Op, class T>
__device__ __forceinline__ T block_reduce(T value, T* scratch, T identity) {
  value = warp_reduce<Op>(value);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = (blockDim.x + 31) / 32;
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  return warp_reduce<Op>(lane < n_warps ? scratch[lane] : identity);
}

// The sum of the values of the threads before this one. `scratch` as above, used anew by every call: two
// calls need a barrier between them.
template <class T>
__device__ __forceinline__ T block_exclusive_sum(T value, T* scratch, T* total) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = (blockDim.x + 31) / 32;
  T inclusive = value;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const T other = __shfl_up_sync(~0u, inclusive, offset);
    if (lane >= offset) inclusive += other;
  }
  if (lane == 31) scratch[warp] = inclusive;
  __syncthreads();
  T before = 0, all = 0;
  for (int w = 0; w < n_warps; ++w) {
    if (w < warp) before += scratch[w];
    all += scratch[w];
  }
  *total = all;
  return before + inclusive - value;
}

}  // namespace octet::cuda
