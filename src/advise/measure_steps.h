// The steps that a step model is fitted to, timed on a loaded model.
#pragma once

#include <vector>

#include "advise/step_model.h"
#include "model/model.h"

namespace octet {

struct MeasureOptions {
  int32_t input_len = 128, output_len = 128;  // of the requests that the model is to be asked about
  double seconds = 0.15;                      // spent on each point, three samples at least
};

// Decode steps of 1, 2, 4, ... sequences with short and with long contexts, and steps of prompts up to the
// model's largest step. Errors: the device failed.
Result<std::vector<StepPoint>> measure_steps(Model& model, const MeasureOptions& options);

}  // namespace octet
