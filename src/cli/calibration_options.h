// What commands that calibrate share: the options that say on which text, and that text's tokens.
#pragma once

#include <memory>

#include "cli/session.h"
#include "quantize/calibration_text.h"

namespace octet {

void add_calibration_text_options(CLI::App& command, CalibrationTextOptions& text);

// The tokens that `text` stands for; says so where the model writes them itself.
Result<TokenSequences> calibration_sequences(const ModelArgs& model,
                                             const std::shared_ptr<Checkpoint>& checkpoint,
                                             const CalibrationTextOptions& text);

}  // namespace octet
