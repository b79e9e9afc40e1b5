// What a model is calibrated on, as token sequences of one length: from files, or written by the model
// itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "formats/checkpoint.h"

namespace octet {

struct CalibrationTextOptions {
  std::vector<std::string> files;  // "self" alone: the model writes its own
  int32_t samples = 32;
  int32_t sequence_length = 512;
  uint64_t seed = 0;  // of the model's own text
};

using TokenSequences = std::vector<std::vector<int32_t>>;

// Plain text, or JSON lines (*.jsonl) with a `text` or chat `messages`, which go through the model's
// template. The samples are spread evenly over all of it; each begins with what the tokenizer puts before a
// text (BOS or nothing). Errors, each naming file and line: not there, empty, not UTF-8, not JSON, neither
// field; fewer tokens than asked for.
Result<TokenSequences> read_calibration_files(const Checkpoint& checkpoint,
                                              const CalibrationTextOptions& options);

// Text drawn from the model's own distribution at temperature 1 (after Liu et al., "LLM-QAT", 2023): one half
// begins with a random token (or BOS), the other, where there is a chat template, as a conversation whose
// user the model plays too. The same seed gives the same text. Loads the whole model in 16 bits.
Result<TokenSequences> write_own_text(const std::shared_ptr<Checkpoint>& checkpoint, std::unique_ptr<Ops> ops,
                                      const CalibrationTextOptions& options);

// kInvalidArgument where samples and length make no sense for the model.
Status check_calibration_options(const Checkpoint& checkpoint, const CalibrationTextOptions& options);

}  // namespace octet
