// Products of a warpgroup on the CPU: see backend/cuda/emulation/emulator.h. They read their operands,
// registers too, when they are waited for.
#pragma once

#include "backend/cuda/device/mma.h"
#include "backend/cuda/emulation/emulator.h"

namespace octet::cuda {
namespace emulation {

using Products = std::vector<std::function<void()>>;
struct ThreadProducts {
  Products open;
  std::vector<Products> committed;
};
inline ThreadProducts& products() {
  static std::array<ThreadProducts, 1024> all;
  return all[static_cast<size_t>(thread().index)];
}

// A matrix descriptor: address, two strides, the 128-byte swizzle.
struct Operand {
  uint32_t start, leading, stride;
  explicit Operand(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4) {
    if (bits >> 62 != 1) fail("an operand without the 128-byte swizzle");
  }
  template <class T>
  float load(uint32_t address) const {
    uint16_t value;
    std::memcpy(&value, shared_memory() + (address ^ (address >> 7 & 7) << 4), 2);
    return element<T>(value, 0);
  }
  template <class T>
  float row_major(int row, int k) const {
    return load<T>(start + static_cast<uint32_t>(row / 8) * stride +
                   static_cast<uint32_t>(row % 8 * 128 + k * 2));
  }
  template <class T>
  float column_major(int k, int n) const {
    return load<T>(start + static_cast<uint32_t>(n / 64) * leading + static_cast<uint32_t>(k / 8) * stride +
                   static_cast<uint32_t>(k % 8 * 128 + n % 64 * 2));
  }
};

// This thread's registers of d (+)= a b, of `columns` columns; b_at(k, n).
template <class BAt>
void multiply(float* d, const float (&a)[2][16], int columns, bool add, const BAt& b_at) {
  for (int j = 0; j < columns / 8; ++j) {
    for (int i = 0; i < 2; ++i) {
      const int n = j * 8 + lane() % 4 * 2 + i;
      for (int r = 0; r < 2; ++r) {
        float& sum = d[4 * j + 2 * r + i];
        if (!add) sum = 0;
        for (int k = 0; k < 16; ++k) sum += a[r][k] * b_at(k, n);
      }
    }
  }
}

}  // namespace emulation

inline uint64_t row_operand(uint32_t shared) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 16 | (shared & 0x3ffff) >> 4;
}
inline uint64_t column_operand(uint32_t shared, uint32_t panel_bytes) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | uint64_t{panel_bytes >> 4} << 16 |
         (shared & 0x3ffff) >> 4;
}
inline uint64_t advance(uint64_t operand, uint32_t bytes) {
  return operand + (bytes >> 4);
}

inline void products_fence() {}
inline void products_commit() {
  emulation::ThreadProducts& p = emulation::products();
  p.committed.push_back(std::move(p.open));
  p.open.clear();
}
template <int kPending>
void products_wait() {
  emulation::ThreadProducts& p = emulation::products();
  while (p.committed.size() > kPending) {
    for (const auto& product : p.committed.front()) product();
    p.committed.erase(p.committed.begin());
  }
  emulation::yield();
}
template <int kCount>
void pin(float (&)[kCount]) {}
template <int kRegisters>
void set_register_limit_up() {}
template <int kRegisters>
void set_register_limit_down() {}

template <class T>
void product_rows(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  emulation::products().open.push_back([&d, a, b, add] {
    const emulation::Operand left(a), right(b);
    const int row = emulation::thread().index / 32 % 4 * 16 + emulation::lane() / 4;
    float x[2][16];
    for (int r = 0; r < 2; ++r) {
      for (int k = 0; k < 16; ++k) x[r][k] = left.row_major<T>(row + 8 * r, k);
    }
    emulation::multiply(d, x, 128, add, [&](int k, int n) { return right.row_major<T>(n, k); });
  });
}
template <class T, size_t kCount>
void product_columns(float (&d)[kCount], const uint32_t* a, uint64_t b, bool add) {
  emulation::products().open.push_back([&d, a, b, add] {
    const emulation::Operand right(b);
    const auto all = emulation::gather(std::array<uint32_t, 4>{a[0], a[1], a[2], a[3]});
    float x[2][16];
    for (int r = 0; r < 2; ++r) {
      for (int k = 0; k < 16; ++k)
        x[r][k] = emulation::element<T>(all[emulation::lane() / 4 * 4 + k % 8 / 2][r + k / 8 * 2], k % 2);
    }
    emulation::multiply(d, x, int{kCount} * 2, add,
                        [&](int k, int n) { return right.column_major<T>(k, n); });
  });
}

}  // namespace octet::cuda
