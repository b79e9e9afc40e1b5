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

// Two rounds over the same steps, between which others were timed: what a load on the machine does to one of
// them counts half.
std::vector<StepPoint> mean_of_rounds(std::vector<StepPoint> first, const std::vector<StepPoint>& second);

// How much longer steps take now than before: the median over the shapes that both have; 1 where there is
// none.
double time_ratio(const std::vector<StepPoint>& before, const std::vector<StepPoint>& now);

}  // namespace octet
