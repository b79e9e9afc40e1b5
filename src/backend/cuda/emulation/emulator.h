// Runs kernels on the CPU, so that a machine without a GPU can test them: their indices, barriers, masks and
// order of work, not their speed. A kernel's source is compiled as plain C++ against this folder's versions
// of the headers in backend/cuda/device/, which do what the hardware's instructions are documented to do.
//
// Every thread of a block is a fiber; blocks run one after another. What waits, yields; copies and products
// of the asynchronous kind happen late and in any order, so that a result used too early is wrong here too. A
// block in which nothing moves any more is reported and ends the program. Shared memory starts as NaN.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)

namespace octet::cuda::emulation {

inline constexpr size_t kSharedBytes = 227 * 1024;

struct ThreadPlace {
  dim3 in_block;
  int index = 0;
};
struct BlockPlace {
  dim3 index, block_size, grid_size;
};
const ThreadPlace& thread();
const BlockPlace& block();
uint8_t* shared_memory();

void yield();                              // lets the other threads run
void moved();                              // tells the watch that something happened
void later(std::function<void()> action);  // once, some time before the block ends
[[noreturn]] void fail(const char* what);
void run(dim3 grid, dim3 block, const std::function<void()>& body);
void named_barrier(uint32_t id, uint32_t threads, bool wait);

// Every lane's value, once all 32 have called.
inline constexpr size_t kLaneBytes = 64;
void exchange(const void* mine, size_t bytes, uint8_t (&all)[32][kLaneBytes]);
template <class T>
std::array<T, 32> gather(const T& mine) {
  static_assert(sizeof(T) <= kLaneBytes);
  uint8_t bytes[32][kLaneBytes];
  exchange(&mine, sizeof(T), bytes);
  std::array<T, 32> all;
  for (int i = 0; i < 32; ++i) std::memcpy(&all[i], bytes[i], sizeof(T));
  return all;
}
inline int lane() {
  return thread().index % 32;
}

// The i-th 16-bit element of a register.
template <class T>
float element(uint32_t pair, int i) {
  const auto bits = static_cast<uint16_t>(pair >> (16 * i));
  if constexpr (std::is_same_v<T, __half>) return __half2float(__ushort_as_half(bits));
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

}  // namespace octet::cuda::emulation

#define threadIdx (octet::cuda::emulation::thread().in_block)
#define blockIdx (octet::cuda::emulation::block().index)
#define blockDim (octet::cuda::emulation::block().block_size)
#define gridDim (octet::cuda::emulation::block().grid_size)

inline void __syncthreads() {
  octet::cuda::emulation::named_barrier(0, blockDim.x, true);
}
inline void __syncwarp() {
  octet::cuda::emulation::gather(0);
}
inline void __threadfence() {}
template <class T>
T __shfl_sync(unsigned, T x, int from) {
  return octet::cuda::emulation::gather(x)[from & 31];
}
template <class T>
T __shfl_xor_sync(unsigned, T x, int distance) {
  return octet::cuda::emulation::gather(x)[octet::cuda::emulation::lane() ^ distance];
}
template <class T>
T __shfl_up_sync(unsigned, T x, int distance) {
  const int lane = octet::cuda::emulation::lane();
  return octet::cuda::emulation::gather(x)[lane >= distance ? lane - distance : lane];
}
inline int __any_sync(unsigned, int x) {
  for (const int v : octet::cuda::emulation::gather(x)) {
    if (v != 0) return 1;
  }
  return 0;
}
template <class T>
T __reduce_add_sync(unsigned, T x) {
  T sum = 0;
  for (const T v : octet::cuda::emulation::gather(x)) sum += v;
  return sum;
}
template <class T>
T atomicAdd(T* to, T x) {
  const T before = *to;
  *to += x;
  return before;
}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline int __float2int_rn(float x) {
  return static_cast<int>(std::nearbyint(x));
}
inline float rsqrtf(float x) {
  return 1 / std::sqrt(x);
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t{y} << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i)
    r |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return r;
}
template <class A, class B>
std::common_type_t<A, B> min(A a, B b) {
  using C = std::common_type_t<A, B>;
  return std::min(static_cast<C>(a), static_cast<C>(b));
}
template <class A, class B>
std::common_type_t<A, B> max(A a, B b) {
  using C = std::common_type_t<A, B>;
  return std::max(static_cast<C>(a), static_cast<C>(b));
}

// Of a kernel: the runtime's own template is nvcc's alone.
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
