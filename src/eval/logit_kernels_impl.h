// The kernels of logit_rows.h, compiled once for each instruction set: vectors of the compiler's own, as wide
// as a register. A row is read once a kernel; exp is a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2], 2
// units in the last place off. Sums run in float over blocks short enough to lose nothing that matters, in
// double over the blocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "eval/logit_rows.h"

namespace octet {
namespace {

#ifdef __AVX2__
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(float))));

constexpr int64_t kBlock = 1024;

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// exp(x) for x <= 0; below -87 it is as good as 0. A NaN stays one.
inline Floats exp_of(Floats x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  constexpr int32_t kRoundBits = 0x4b400000;
  const Floats lowest = Floats{} - 87.0f;
  x = x < lowest ? lowest : x;
  const Floats shifted = x * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = r * (1.0f / 720) + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Ints bits, exponent;
  std::memcpy(&exponent, &shifted, sizeof(bits));
  std::memcpy(&bits, &p, sizeof(bits));
  bits += (exponent - kRoundBits) << 23;
  std::memcpy(&p, &bits, sizeof(bits));
  return p;
}

inline double total(Floats v) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

// Sums term(i) for vectors at i, and the rest of the row padded by `pad` into a vector of its own.
template <typename Term, typename Rest>
double sum_over(int64_t n, const Term& term, const Rest& rest) {
  double sum = 0;
  const int64_t whole = n - n % kLanes;
  for (int64_t block = 0; block < whole; block += kBlock) {
    Floats partial{};
    const int64_t end = std::min(block + kBlock, whole);
    for (int64_t i = block; i < end; i += kLanes) partial += term(i);
    sum += total(partial);
  }
  return whole < n ? sum + rest(whole) : sum;
}

// The last n % kLanes values, then `filler`.
inline Floats load_tail(const float* p, int64_t n, float filler) {
  float values[kLanes];
  std::fill_n(values, kLanes, filler);
  std::copy_n(p, n, values);
  return load(values);
}

float max_of(const float* row, int64_t n) {
  float best = row[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Floats lanes = load(row);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Floats v = load(row + i);
      lanes = v > lanes ? v : lanes;
    }
    best = lanes[0];
    for (int lane = 1; lane < kLanes; ++lane) best = std::max(best, lanes[lane]);
  }
  for (; i < n; ++i) best = std::max(best, row[i]);
  return best;
}

double sum_exp(const float* row, float shift, int64_t n) {
  return sum_over(
      n, [&](int64_t i) { return exp_of(load(row + i) - shift); },
      [&](int64_t i) {
        return total(exp_of(load_tail(row + i, n - i, shift) - shift)) - double(kLanes - (n - i));
      });
}

double weighted_difference(const float* p, float p_log, const float* q, float q_log, int64_t n) {
  const auto term = [&](Floats a, Floats b) {
    const Floats log_p = a - p_log, log_q = b - q_log;
    return exp_of(log_p) * (log_p - log_q);
  };
  return sum_over(
      n, [&](int64_t i) { return term(load(p + i), load(q + i)); },
      [&](int64_t i) { return total(term(load_tail(p + i, n - i, p_log), load_tail(q + i, n - i, q_log))); });
}

constexpr LogitKernels kKernels = {max_of, sum_exp, weighted_difference};

}  // namespace
}  // namespace octet
