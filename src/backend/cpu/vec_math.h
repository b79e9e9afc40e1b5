// The exponential on vectors, and loops over rows of any length.
#pragma once

#include <cstdint>
#include <cstring>

#include "backend/cpu/vec_generic.h"

namespace octet::cpu {

// e^r for |r| <= ln(2) / 2, relative error of the polynomial 1.05e-7 (fitted by weighted least squares,
// iterated to the minimax); e^0 is exactly 1.
template <class V>
inline typename V::F exp_reduced(typename V::F r) {
  typename V::F p = V::set1(8.312550150e-03f);
  p = V::fma(p, r, V::set1(4.189021490e-02f));
  p = V::fma(p, r, V::set1(1.666711457e-01f));
  p = V::fma(p, r, V::set1(4.999923110e-01f));
  return V::fma(V::mul(p, r), r, V::add(r, V::set1(1.0f)));
}

// 2^t: relative error below 3e-7; exactly 1 at 0; 0 below -126.5, infinity from 127.5; NaN stays NaN.
template <class V>
inline typename V::F exp2(typename V::F t) {
  t = V::min(V::set1(128.0f), V::max(V::set1(-127.0f), t));
  const typename V::F n = V::round(t);
  return V::mul(exp_reduced<V>(V::mul(V::sub(t, n), V::set1(0.693147181f))), V::exp2i(n));
}

// e^x: relative error below 3e-7 (ln 2 is taken off in two parts); ends like exp2's.
template <class V>
inline typename V::F exp(typename V::F x) {
  x = V::min(V::set1(89.0f), V::max(V::set1(-88.3f), x));
  const typename V::F n = V::round(V::mul(x, V::set1(1.44269504f)));
  typename V::F r = V::fma(n, V::set1(-0.693145752f), x);
  r = V::fma(n, V::set1(-1.42860677e-6f), r);
  return V::mul(exp_reduced<V>(r), V::exp2i(n));
}

// Where a loop over a row stands: kLanes whole values at i, or the last n < kLanes.
template <class V>
struct WholeLanes {
  int64_t i;
  typename V::F load(const float* p, float = 0) const { return V::load(p + i); }
  void store(float* p, typename V::F v) const { V::store(p + i, v); }
  template <class T, class Read>
  typename V::F get(const T* p, const Read& read) const {
    return read(p + i);
  }
  template <class T, class Write>
  void put(T* p, const Write& write) const {
    write(p + i);
  }
};

template <class V>
struct LastLanes {
  int64_t i;
  size_t n;
  typename V::F load(const float* p, float pad = 0) const {
    float lanes[V::kLanes];
    V::store(lanes, V::set1(pad));
    std::memcpy(lanes, p + i, n * sizeof(float));
    return V::load(lanes);
  }
  void store(float* p, typename V::F v) const {
    float lanes[V::kLanes];
    V::store(lanes, v);
    std::memcpy(p + i, lanes, n * sizeof(float));
  }
  template <class T, class Read>
  typename V::F get(const T* p, const Read& read) const {
    T lanes[V::kLanes] = {};
    std::memcpy(lanes, p + i, n * sizeof(T));
    return read(lanes);
  }
  template <class T, class Write>
  void put(T* p, const Write& write) const {
    T lanes[V::kLanes];
    write(lanes);
    std::memcpy(p + i, lanes, n * sizeof(T));
  }
};

// body(at) along [0, n).
template <class V, class Body>
inline void for_lanes(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) body(WholeLanes<V>{i});
  if (i < n) body(LastLanes<V>{i, static_cast<size_t>(n - i)});
}

}  // namespace octet::cpu
