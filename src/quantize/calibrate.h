// Calibration: runs token sequences through the 16-bit model, one layer at a time, and decides from what its
// linear layers read how each of them is written: smoothing, rounding, static scales.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "quantize/recipe.h"
#include "quantize/rounding.h"
#include "quantize/smooth.h"

namespace octet {

struct CalibrationOptions {
  SmoothOptions smooth;
  WeightRounding weights = WeightRounding::kAbsmax;
  int n_threads = 0;  // 0: all the process may run on; results do not depend on it
};

// What is reported of one input: before and after smoothing.
struct InputReport {
  int32_t layer = 0;                           // the head's: the number of layers
  std::string name;                            // "qkv", "o", "gate_up", "down", "head"
  std::vector<float> absmax, absmax_smoothed;  // [k] by channel
  Smoothing smoothing;
  double error = 0;  // relative output error with the weights as they are written, on the trial rows
};

struct Calibration {
  std::map<std::string, QuantScheme> schemes;  // of every linear module, as they are to be written
  Recipe recipe;
  std::vector<InputReport> inputs;
  int64_t tokens = 0;
};

// `schemes`: of every linear module, lm_head included. `sequences` have one length.
Result<Calibration> calibrate(const Checkpoint& checkpoint, Ops& ops,
                              const std::map<std::string, QuantScheme>& schemes,
                              const std::vector<std::vector<int32_t>>& sequences,
                              const CalibrationOptions& options);

}  // namespace octet
