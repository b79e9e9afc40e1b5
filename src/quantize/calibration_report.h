// What calibration saw and decided, for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "quantize/calibrate.h"
#include "report/report_page.h"

namespace octet {

// One entry an input: its range before and after smoothing, alpha, errors, what clips, and why it is not
// static.
nlohmann::ordered_json calibration_json(const Calibration& calibration);

// Pictures of the ranges by layer and channel, before and after smoothing, and a table of the decisions.
ReportPage calibration_page(const Calibration& calibration, const std::string& model,
                            const std::string& scheme, const std::string& command);

// "210 inputs: 118 smoothed, alpha 0.3 to 0.9; 2 of 120 static inputs became dynamic"
std::string calibration_summary(const Calibration& calibration);

}  // namespace octet
