// Calibration: runs token sequences through the 16-bit model, one layer at a time, and decides from what its
// linear layers read how each of them is written: smoothing, rounding, static scales.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "quantize/recipe.h"
#include "quantize/rounding.h"
#include "quantize/smooth.h"
#include "quantize/static_scale.h"

namespace octet {

struct CalibrationOptions {
  SmoothOptions smooth;
  WeightRounding weights = WeightRounding::kAbsmax;
  Observer observer;
  bool strict_static = false;  // a static input that is not safe is an error, not made dynamic
  bool keep_static = false;    // it stays as it is: to measure what that costs
  KvQuant kv;                  // quantized: its static scales are calibrated too
  int n_threads = 0;           // 0: all the process may run on; results do not depend on it
};

// What is reported of one input: before and after smoothing.
struct InputReport {
  int32_t layer = 0;                           // the head's: the number of layers
  std::string name;                            // "qkv", "o", "gate_up", "down", "head"
  std::vector<float> absmax, absmax_smoothed;  // [k] by channel
  Smoothing smoothing;
  std::optional<StaticCheck> check;  // of the worst of its linear layers, where the input was to be static
  std::string fallback;              // why it became dynamic; empty: it did not
};

struct Calibration {
  std::map<std::string, QuantScheme> schemes;  // of every linear module, as they are to be written
  Recipe recipe;
  std::vector<InputReport> inputs;
  WeightRounding weights = WeightRounding::kAbsmax;
  KvQuant kv_quant;
  std::vector<KvScales> kv_scales;  // by layer, where kv_quant is quantized
  int64_t tokens = 0;
};

// `schemes`: of every linear module, lm_head included. `sequences` have one length.
Result<Calibration> calibrate(const Checkpoint& checkpoint, Ops& ops,
                              const std::map<std::string, QuantScheme>& schemes,
                              const std::vector<std::vector<int32_t>>& sequences,
                              const CalibrationOptions& options);

}  // namespace octet
