#include "cli/calibration_options.h"

#include "base/log.h"

namespace octet {

void add_calibration_text_options(CLI::App& command, CalibrationTextOptions& text) {
  text.files = {"self"};
  command
      .add_option(
          "--calibration", text.files,
          "files of text, or of JSON lines (.jsonl) with a `text` or chat `messages`; self: the model writes "
          "its own")
      ->capture_default_str();
  command
      .add_option("--samples", text.samples, "sequences to calibrate on; the last eighth checks the result")
      ->capture_default_str();
  command.add_option("--sequence-length", text.sequence_length, "tokens of each")->capture_default_str();
}

Result<TokenSequences> calibration_sequences(const ModelArgs& model,
                                             const std::shared_ptr<Checkpoint>& checkpoint,
                                             const CalibrationTextOptions& text) {
  if (text.files != std::vector<std::string>{"self"}) return read_calibration_files(*checkpoint, text);
  log_info("calibration: on text that the model writes itself (--calibration FILE takes yours)");
  OCTET_ASSIGN_OR_RETURN(auto ops, make_ops(model));
  return write_own_text(checkpoint, std::move(ops), text);
}

}  // namespace octet
