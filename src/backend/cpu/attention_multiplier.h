// How 16 lanes of a panel of keys or values (kv_layout.h) meet the values of a row: what the attention
// kernels are templates over.
//
//   Vec, A             vectors of float; the type of a row's values in the product
//   kRows, kUnits      rows and units of 16 lanes at once, by the registers there are
//   kStep              values of a row in one step: 2 where panels are paired
//   Panel load(p)      16 lanes of one step, from 16 * kStep elements
//   Value value(a)     the values of a row that meet them
//   step(acc, panel, value)  acc += value . panel, the same operations in the same order for every row
//   put(a, v)          kLanes values of a row into the product's type
#pragma once

#include "backend/cpu/vec_math.h"

namespace octet::cpu {

// 16 lanes of float sums.
template <class V>
struct Lanes16 {
  static constexpr int kVecs = 16 / V::kLanes;
  typename V::F v[kVecs];
};

// Panels of bf16 pairs, multiplied in float.
template <class V, int kRowsAtOnce>
struct PairsInFloat {
  using Vec = V;
  using A = float;
  using Acc = Lanes16<V>;
  static constexpr int kRows = kRowsAtOnce, kUnits = 1, kStep = 2;
  struct Panel {
    typename V::F even[Acc::kVecs], odd[Acc::kVecs];
  };
  struct Value {
    typename V::F even, odd;
  };
  static Panel load(const uint16_t* p) {
    Panel panel;
    OCTET_UNROLL
    for (int i = 0; i < Acc::kVecs; ++i)
      V::load_bf16_pairs(p + 2 * V::kLanes * i, panel.even[i], panel.odd[i]);
    return panel;
  }
  static Value value(const float* a) { return {V::set1(a[0]), V::set1(a[1])}; }
  static void step(Acc& acc, const Panel& panel, const Value& value) {
    OCTET_UNROLL
    for (int i = 0; i < Acc::kVecs; ++i) acc.v[i] = V::fma(value.even, panel.even[i], acc.v[i]);
    OCTET_UNROLL
    for (int i = 0; i < Acc::kVecs; ++i) acc.v[i] = V::fma(value.odd, panel.odd[i], acc.v[i]);
  }
  static void put(float* a, typename V::F v) { V::store(a, v); }
};

// Panels of f16, one value of a row at a time.
template <class V, int kRowsAtOnce, int kUnitsAtOnce = 1>
struct HalvesInFloat {
  using Vec = V;
  using A = float;
  using Acc = Lanes16<V>;
  using Panel = Lanes16<V>;
  using Value = typename V::F;
  static constexpr int kRows = kRowsAtOnce, kUnits = kUnitsAtOnce, kStep = 1;
  static Panel load(const uint16_t* p) {
    Panel panel;
    OCTET_UNROLL
    for (int i = 0; i < Acc::kVecs; ++i) panel.v[i] = V::load_f16(p + V::kLanes * i);
    return panel;
  }
  static Value value(const float* a) { return V::set1(*a); }
  static void step(Acc& acc, const Panel& panel, Value value) {
    OCTET_UNROLL
    for (int i = 0; i < Acc::kVecs; ++i) acc.v[i] = V::fma(value, panel.v[i], acc.v[i]);
  }
  static void put(float* a, typename V::F v) { V::store(a, v); }
};

}  // namespace octet::cpu
