#include "quantize/quantize.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "quantize/calibration_text.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  QuantizeOptions options;
  CalibrationTextOptions text;
  std::string alpha = "auto", weights = "absmax";
  std::string output;
  bool json = false;
};

Result<TokenSequences> calibration_text(const Args& args, const std::shared_ptr<Checkpoint>& checkpoint) {
  if (args.text.files != std::vector<std::string>{"self"})
    return read_calibration_files(*checkpoint, args.text);
  log_info("calibration: on text that the model writes itself (--calibration FILE takes yours)");
  OCTET_ASSIGN_OR_RETURN(auto ops, make_ops(args.model));
  return write_own_text(checkpoint, std::move(ops), args.text);
}

Result<Calibration> calibrate_for(const Args& args, const std::shared_ptr<Checkpoint>& checkpoint) {
  CalibrationOptions options;
  OCTET_ASSIGN_OR_RETURN(options.smooth, parse_alpha(args.alpha != "auto"              ? args.alpha
                                                     : needs_calibration(args.options) ? "search"
                                                                                       : "none"));
  OCTET_ASSIGN_OR_RETURN(options.weights, parse_rounding(args.weights));
  options.n_threads = args.model.threads;
  OCTET_ASSIGN_OR_RETURN(const auto schemes, quantized_schemes(*checkpoint, args.options, true));
  OCTET_RETURN_IF_ERROR(check_output_folder(args.output));  // now, not after minutes
  OCTET_ASSIGN_OR_RETURN(const auto sequences, calibration_text(args, checkpoint));
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(args.model));
  return calibrate(*checkpoint, *ops, schemes, sequences, options);
}

Result<QuantizeReport> quantize(const Args& args) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  if (!needs_calibration(args.options) && args.weights == "absmax" && args.alpha == "auto")
    return quantize_checkpoint(*checkpoint, args.options, args.output);
  OCTET_ASSIGN_OR_RETURN(const auto calibration, calibrate_for(args, checkpoint));
  return quantize_checkpoint(*checkpoint, args.options, args.output, &calibration);
}

int run(const Args& args) {
  const auto report = quantize(args);
  if (!report.ok()) return fail(report.status());
  if (args.json) {
    const nlohmann::ordered_json json = {{"output", args.output},
                                         {"scheme", args.options.scheme},
                                         {"quantized_modules", report->quantized_modules},
                                         {"plain_modules", report->plain_modules},
                                         {"bytes", report->bytes_written},
                                         {"seconds", report->seconds}};
    std::printf("%s\n", json.dump(2).c_str());
  } else {
    std::printf("%s: %s, %lld layers quantized, %lld left plain, %.1f MiB, %.1f s\n", args.output.c_str(),
                args.options.scheme.c_str(), static_cast<long long>(report->quantized_modules),
                static_cast<long long>(report->plain_modules),
                static_cast<double>(report->bytes_written) / (1 << 20), report->seconds);
  }
  return 0;
}

void add_calibration_options(CLI::App& command, Args& args) {
  args.text.files = {"self"};
  command
      .add_option(
          "--calibration", args.text.files,
          "files of text, or of JSON lines (.jsonl) with a `text` or chat `messages`; self: the model writes "
          "its own")
      ->capture_default_str();
  command
      .add_option("--samples", args.text.samples,
                  "sequences to calibrate on; the last eighth checks the result")
      ->capture_default_str();
  command.add_option("--sequence-length", args.text.sequence_length, "tokens of each")->capture_default_str();
  command.add_option("--seed", args.text.seed, "of the model's own text")->capture_default_str();
  command
      .add_option(
          "--alpha", args.alpha,
          "SmoothQuant's share of outliers that goes into the weights: search (layer by layer, by the error "
          "of the layer's output), none, or a number from 0 to 1")
      ->capture_default_str();
  command
      .add_option("--weights", args.weights,
                  "rounding of the weights: absmax, mse (scales of least error), gptq (errors made good by "
                  "the columns "
                  "not yet rounded)")
      ->capture_default_str();
  command.add_option("--threads", args.model.threads, "threads (default: all cores)");
  command.add_option("--isa", args.model.isa, "instruction set: auto, generic, avx2, avx512")
      ->capture_default_str();
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("quantize", "Write a checkpoint with 8-bit weights that other engines load too");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model.model, "16-bit checkpoint: a Hugging Face folder or a .gguf file")
      ->required();
  command->add_option("--scheme", args->options.scheme, "int8 (SmoothQuant), int8-minmax, fp8, bf16 or fp16")
      ->required();
  command->add_option("-o,--output", args->output, "folder to write")->required();
  command->add_option("--exclude", args->options.exclude, "regular expression over layers that stay 16 bit");
  command
      ->add_option("--override", args->options.overrides,
                   "REGEX=SCHEME: layers in another scheme; the last that matches wins")
      ->allow_extra_args(false);
  command->add_flag("--quantize-head", args->options.quantize_head, "the output head too");
  add_calibration_options(*command, *args);
  command->add_flag("--json", args->json, "print the result as JSON");
  command->footer(
      "Schemes that take data are calibrated on text that the model writes itself, or on yours.\n\n"
      "Example:\n  octet quantize models/smollm2-135m-instruct.gguf --scheme int8 -o smollm2-int8\n"
      "  octet quantize Llama-3.1-8B --scheme int8 --calibration chats.jsonl --samples 128 -o llama-int8\n"
      "  octet quantize Llama-3.1-8B --scheme fp8 --exclude 'layers\\.0\\.' -o llama-fp8");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
