// The kernels of row_kernels.h over any vector type. Included only by the files that instantiate them.
#pragma once

#include <cmath>

#include "backend/cpu/row_kernels.h"
#include "backend/cpu/vec_math.h"

namespace octet::cpu {

template <class V>
struct RowKernelsImpl {
  using F = typename V::F;

  static float sum_squares(const float* x, int64_t n) {
    constexpr int kWays = 4;  // enough independent sums to hide the latency of fma
    F sums[kWays] = {V::set1(0), V::set1(0), V::set1(0), V::set1(0)};
    int64_t i = 0;
    for (; i + kWays * V::kLanes <= n; i += kWays * V::kLanes) {
      OCTET_UNROLL
      for (int w = 0; w < kWays; ++w) {
        const F v = V::load(x + i + w * V::kLanes);
        sums[w] = V::fma(v, v, sums[w]);
      }
    }
    for_lanes<V>(n - i, [&](auto at) {
      const F v = at.load(x + i);
      sums[0] = V::fma(v, v, sums[0]);
    });
    return V::sum(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  }

  static void norm(const float* x, const float* gamma, float eps, int64_t n, float* y) {
    const F inv_rms = V::set1(1.0f / std::sqrt(sum_squares(x, n) / static_cast<float>(n) + eps));
    for_lanes<V>(n, [&](auto at) { at.store(y, V::mul(V::mul(at.load(x), inv_rms), at.load(gamma))); });
  }

  static void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
    const F one = V::set1(1), zero = V::set1(0);
    for_lanes<V>(n, [&](auto at) {
      const F g = at.load(gate);
      at.store(y, V::mul(V::div(g, V::add(one, exp<V>(V::sub(zero, g)))), at.load(up)));
    });
  }

  static void rotate(const float* x, const float* cos, const float* sin, int64_t half, float* y) {
    for_lanes<V>(half, [&](auto at) {
      const F a = at.load(x), b = at.load(x + half), c = at.load(cos), s = at.load(sin);
      at.store(y, V::sub(V::mul(a, c), V::mul(b, s)));
      at.store(y + half, V::add(V::mul(b, c), V::mul(a, s)));
    });
  }

  static float absmax(const float* x, int64_t n) {
    F highest = V::set1(0);
    for_lanes<V>(n, [&](auto at) { highest = V::max(V::abs(at.load(x)), highest); });
    return V::highest(highest);
  }

  static int32_t split_outliers(const float* x, float limit, int64_t n, float* rest, uint16_t* outliers) {
    const F bound = V::set1(limit);
    int32_t count = 0;
    for_lanes<V>(n, [&](auto at) {
      const F v = at.load(x), kept = V::only_at_least(V::abs(v), bound, v);
      if (V::any_at_least(V::abs(v), bound)) {
        float lanes[V::kLanes];
        V::store(lanes, kept);
        for (const float lane : lanes) count += lane != 0 ? 1 : 0;
      }
      at.store(rest, V::only_less(V::abs(v), bound, v));
      at.put(outliers, [kept](uint16_t* p) { V::store_bf16(p, kept); });
    });
    return count;
  }

  static void to_bf16(const float* x, int64_t n, uint16_t* out) {
    for_lanes<V>(n, [&](auto at) {
      const F v = at.load(x);
      at.put(out, [v](uint16_t* p) { V::store_bf16(p, v); });
    });
  }
  static void to_f16(const float* x, int64_t n, uint16_t* out) {
    for_lanes<V>(n, [&](auto at) {
      const F v = at.load(x);
      at.put(out, [v](uint16_t* p) { V::store_f16(p, v); });
    });
  }
  static void to_e4m3(const float* x, float inv_scale, int64_t n, uint8_t* out) {
    for_lanes<V>(n, [&](auto at) {
      const F v = V::mul(at.load(x), V::set1(inv_scale));
      at.put(out, [v](uint8_t* p) { V::store_e4m3(p, v); });
    });
  }
  static void to_i8(const float* x, float inv_scale, float zero_point, float low, int64_t n, int8_t* out) {
    for_lanes<V>(n, [&](auto at) {
      F v = V::add(V::round(V::mul(at.load(x), V::set1(inv_scale))), V::set1(zero_point));
      v = V::min(V::max(V::set1(low), v), V::set1(127));
      at.put(out, [v](int8_t* p) { V::store_i8(p, v); });
    });
  }
  static void from_bf16(const uint16_t* x, int64_t n, float* out) {
    for_lanes<V>(
        n, [&](auto at) { at.store(out, at.get(x, [](const uint16_t* p) { return V::load_bf16(p); })); });
  }
  static void from_f16(const uint16_t* x, int64_t n, float* out) {
    for_lanes<V>(
        n, [&](auto at) { at.store(out, at.get(x, [](const uint16_t* p) { return V::load_f16(p); })); });
  }

  static constexpr float kLowest = -std::numeric_limits<float>::infinity();

  static float max(const float* x, int64_t n) {
    F highest = V::set1(kLowest);
    for_lanes<V>(n, [&](auto at) { highest = V::max(at.load(x, kLowest), highest); });
    return V::highest(highest);
  }

  static int64_t next_at_least(const float* x, int64_t begin, int64_t n, float threshold) {
    const F limit = V::set1(threshold);
    int64_t i = begin;
    while (i + V::kLanes <= n && !V::any_at_least(V::load(x + i), limit)) i += V::kLanes;
    while (i < n && !(x[i] >= threshold)) ++i;
    return i;
  }

  // Sums of at most 1,024 values in each lane are gathered in double.
  static double exp_sum(const float* x, float max, float factor, int64_t n, float* out) {
    constexpr int64_t kBlock = 1024 * V::kLanes;
    const F top = V::set1(max), scale = V::set1(factor);
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const int64_t size = n - begin < kBlock ? n - begin : kBlock;
      F sum = V::set1(0);
      for_lanes<V>(size, [&](auto at) {
        const F e = exp<V>(V::mul(V::sub(at.load(x + begin, kLowest), top), scale));
        sum = V::add(sum, e);
        if (out != nullptr) at.store(out + begin, e);
      });
      total += V::sum(sum);
    }
    return total;
  }

  static constexpr RowKernels table() {
    return {norm,  silu_mul,  rotate,   absmax, split_outliers, to_bf16, to_f16, to_e4m3,
            to_i8, from_bf16, from_f16, max,    next_at_least,  exp_sum};
  }
};

}  // namespace octet::cpu
