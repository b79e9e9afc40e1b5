// `octet quantize`: a 16-bit checkpoint in, a compressed-tensors checkpoint out.
//
// Layout written (as vLLM, SGLang and Hugging Face transformers read it): for each quantized linear module
//   <module>.weight        int8 or float8_e4m3fn [n, k]
//   <module>.weight_scale  bfloat16 [n, 1], one a row
// everything else under its usual name in 16 bits.
#pragma once

#include <functional>
#include <string>

#include "formats/checkpoint.h"
#include "quantize/calibrate.h"

namespace octet {

struct QuantizeOptions {
  std::string scheme;                  // a name of scheme_names()
  std::string exclude;                 // regex over module names that stay 16 bit
  std::vector<std::string> overrides;  // "REGEX=SCHEME"
  bool quantize_head = false;
  size_t shard_bytes = size_t{5} << 30;
};

// Whether any of the schemes takes data.
bool needs_calibration(const QuantizeOptions& options);
// How a scheme is calibrated where nothing else is asked for: int8 is smoothed, alpha searched; 4 bits, too
// few to be rounded without regard to the inputs, are rounded by GPTQ.
CalibrationOptions usual_calibration(const QuantizeOptions& options);
// The scheme of every linear module, for `calibrate`; errors as assign_schemes.
Result<std::map<std::string, QuantScheme>> quantized_schemes(const Checkpoint& checkpoint,
                                                             const QuantizeOptions& options, bool calibrated);
// kInvalidArgument where something is there already.
Status check_output_folder(const std::string& folder);

struct QuantizeReport {
  int64_t quantized_modules = 0, plain_modules = 0;
  int64_t bytes_written = 0;
  double seconds = 0;
};

// Errors: kInvalidArgument (`folder` exists and is not empty, scheme or regex wrong), kUnsupported
// (calibrated scheme without a calibration), kResourceExhausted (disk full). Nothing is left behind on
// failure.
Result<QuantizeReport> quantize_checkpoint(const Checkpoint& checkpoint, const QuantizeOptions& options,
                                           const std::string& folder,
                                           const Calibration* calibration = nullptr);

}  // namespace octet
