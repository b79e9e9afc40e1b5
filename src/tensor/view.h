// Not-owning views of matrices in a backend's memory, and the buffer that owns such memory.
// All matrices are row-major; `stride` counts elements from one row to the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "tensor/dtype.h"
#include "tensor/quant_scheme.h"

namespace octet {

struct View {
  void* data = nullptr;
  DType type = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0;

  template <typename T>
  T* row(int64_t i) const {
    return static_cast<T*>(data) + i * stride;
  }
  // The first `n` rows.
  View head(int64_t n) const { return {data, type, n, cols, stride}; }
};

// Columns [begin, begin + n) of a matrix.
inline View columns(const View& v, int64_t begin, int64_t n) {
  auto* data = static_cast<char*>(v.data) + dtype_bytes(v.type, static_cast<size_t>(begin));
  return {data, v.type, v.rows, n, v.stride};
}

// Activations in the form that their consumer (a linear layer) wants them: the producer quantizes without
// asking who it is.
struct QView {
  void* data = nullptr;  // [rows, stride] of the type's element; stride is in elements
  QuantArgs args;
  int64_t rows = 0, cols = 0, stride = 0;
  float* scale = nullptr;  // [rows] for kToken (written by the producer), [1] for kTensor (given), else null
  int32_t* zero_point = nullptr;  // beside each scale where !args.symmetric
  // Where args.outlier > 0, written by the producer: bf16 [rows, stride] the outliers, 0 elsewhere (codes are
  // 0 where they are not); [rows] how many a row has. What they are depends on the row alone, not on the
  // step.
  uint16_t* outliers = nullptr;
  int32_t* outlier_count = nullptr;
  int64_t rows_there = 0;  // that the memory has, where more than `rows`: a kernel may read them for nothing

  template <typename T>
  T* row(int64_t i) const {
    return static_cast<T*>(data) + i * stride;
  }
  QView head(int64_t n) const {
    QView v = *this;
    v.rows = n;
    return v;
  }
  // The rows from `first` on.
  QView tail(int64_t first) const {
    QView v = *this;
    v.data = static_cast<char*>(data) + first * stride * static_cast<int64_t>(qtype_bytes(args.type));
    v.rows -= first;
    v.rows_there = std::max(v.rows, rows_there - first);
    if (args.scale == QScale::kToken) {
      v.scale += first;
      if (zero_point != nullptr) v.zero_point += first;
    }
    if (args.outlier > 0) v.outliers += first * stride, v.outlier_count += first;
    return v;
  }
};

// Owns memory of a backend; freed by the backend's own function.
class Buffer {
 public:
  using Free = std::function<void(void*)>;
  Buffer() = default;
  Buffer(void* data, size_t bytes, Free free) : data_(data), bytes_(bytes), free_(std::move(free)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(free_, other.free_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) free_(data_);
  }

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Free free_;
};

}  // namespace octet
