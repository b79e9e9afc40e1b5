// What the checks of kernels share: errors, device memory, random numbers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <cuda_runtime.h>

namespace octet::cuda::check {

inline void succeed(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(e));
  std::exit(1);
}
inline void finish(const char* what) {
  succeed(cudaGetLastError(), what);
  succeed(cudaDeviceSynchronize(), what);
}

inline int failures = 0;
inline void expect(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

template <class T>
class Array {
 public:
  explicit Array(size_t n, int byte = 0) : n_(n) {
    succeed(cudaMalloc(&data_, std::max<size_t>(n, 1) * sizeof(T)), "cudaMalloc");
    succeed(cudaMemset(data_, byte, n * sizeof(T)), "cudaMemset");
  }
  explicit Array(const std::vector<T>& v) : Array(v.size()) {
    succeed(cudaMemcpy(data_, v.data(), n_ * sizeof(T), cudaMemcpyHostToDevice), "upload");
  }
  Array(const Array&) = delete;
  ~Array() { cudaFree(data_); }
  T* data() const { return data_; }
  size_t size() const { return n_; }
  std::vector<T> host() const {
    std::vector<T> v(n_);
    succeed(cudaMemcpy(v.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost), "download");
    return v;
  }

 private:
  T* data_ = nullptr;
  size_t n_ = 0;
};

// About normal numbers of variance 1, the same for the same index.
inline __host__ __device__ float noise(uint64_t i) {
  float sum = 0;
  for (int j = 0; j < 4; ++j) {
    uint64_t h = (i * 4 + j + 1) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 31;
    h *= 0xbf58476d1ce4e5b9ull;
    h ^= h >> 29;
    sum += static_cast<float>(h >> 40) * 0x1p-24f - 0.5f;
  }
  return sum * 1.7320508f;
}

}  // namespace octet::cuda::check
