// Memory of the device and of the host that owns itself, and the way of large arrays to the device.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include <cuda_runtime_api.h>

#include "base/thread_pool.h"
#include "tensor/view.h"

namespace octet::cuda {

// Host memory that the device copies from and to by itself.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedMemory() {
    if (data_ != nullptr) cudaFreeHost(data_);
  }
  cudaError_t allocate(size_t bytes) {
    *this = PinnedMemory();
    bytes_ = bytes;
    return cudaMallocHost(&data_, bytes);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class Event {
 public:
  Event() { cudaEventCreateWithFlags(&event_, cudaEventDisableTiming); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaError_t record(cudaStream_t stream) { return cudaEventRecord(event_, stream); }
  cudaError_t wait() { return cudaEventSynchronize(event_); }  // at once where nothing was recorded

 private:
  cudaEvent_t event_ = nullptr;
};

// Pinned memory in turns: a turn's memory may be written once the copies of its last use are done.
template <int kTurns>
class PinnedRing {
 public:
  cudaError_t allocate(size_t bytes) {
    for (PinnedMemory& memory : memory_) {
      if (const cudaError_t error = memory.allocate(bytes); error != cudaSuccess) return error;
    }
    return cudaSuccess;
  }
  size_t bytes() const { return memory_[0].bytes(); }
  std::byte* begin() {
    turn_ = (turn_ + 1) % kTurns;
    events_[turn_].wait();
    return memory_[turn_].template as<std::byte>();
  }
  // All copies from what begin() gave are in the stream.
  void end(cudaStream_t stream) { events_[turn_].record(stream); }

 private:
  std::array<PinnedMemory, kTurns> memory_;
  std::array<Event, kTurns> events_;
  int turn_ = 0;
};

// Copies host memory of any kind to the device: large arrays by way of pinned memory that several threads
// fill.
class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {}
  // `host` may be used again on return.
  cudaError_t copy(void* device, const void* host, size_t bytes);

 private:
  cudaStream_t stream_;
  std::unique_ptr<ThreadPool> pool_;  // with the ring, made when they are first needed
  PinnedRing<3> ring_;
};

}  // namespace octet::cuda
