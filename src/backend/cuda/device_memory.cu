#include <algorithm>
#include <cstring>
#include <thread>

#include "backend/cuda/device_memory.h"

namespace octet::cuda {
namespace {

constexpr size_t kTurnBytes = size_t{16} << 20, kDirectBytes = size_t{1} << 20;
constexpr int64_t kGrain = 1 << 20;
constexpr unsigned kMostThreads = 8;

}  // namespace

cudaError_t Uploader::copy(void* device, const void* host, size_t bytes) {
  if (bytes <= kDirectBytes) return cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_);
  if (pool_ == nullptr) {
    pool_ = std::make_unique<ThreadPool>(
        static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads)));
    if (const cudaError_t error = ring_.allocate(kTurnBytes); error != cudaSuccess) return error;
  }
  for (size_t done = 0; done < bytes; done += kTurnBytes) {
    const size_t n = std::min(kTurnBytes, bytes - done);
    std::byte* pinned = ring_.begin();
    const auto* from = static_cast<const std::byte*>(host) + done;
    pool_->parallel_for(static_cast<int64_t>(n), kGrain, [&](int64_t begin, int64_t end, int) {
      std::memcpy(pinned + begin, from + begin, static_cast<size_t>(end - begin));
    });
    const cudaError_t error =
        cudaMemcpyAsync(static_cast<std::byte*>(device) + done, pinned, n, cudaMemcpyHostToDevice, stream_);
    ring_.end(stream_);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace octet::cuda
