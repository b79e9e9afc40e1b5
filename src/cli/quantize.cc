#include "quantize/quantize.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/mapped_file.h"
#include "cli/calibration_options.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/typed_command.h"
#include "formats/file_output.h"
#include "quantize/calibration_report.h"
#include "quantize/calibration_text.h"
#include "quantize/recipe_file.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  QuantizeOptions options;
  CalibrationTextOptions text;
  std::string alpha = "auto", weights = "auto", observer = "absmax";
  std::string kv_dtype = "auto", kv_scales = "tensor";
  bool strict_static = false, keep_static = false;
  std::string recipe, output, report;
  bool json = false;
};

Result<KvQuant> static_kv(const Args& args) {
  if (args.kv_dtype == "auto") return KvQuant{};
  if (args.kv_dtype != "int8" && args.kv_dtype != "fp8") {
    return invalid_argument("--kv-dtype '" + args.kv_dtype +
                            "': expected int8 or fp8, whose scales are calibrated");
  }
  if (args.kv_scales != "tensor" && args.kv_scales != "head") {
    return invalid_argument("--kv-scales '" + args.kv_scales + "': expected tensor or head");
  }
  return KvQuant{args.kv_dtype == "fp8" ? QType::kFp8 : QType::kInt8, false, args.kv_scales == "head"};
}

Result<CalibrationOptions> calibration_options(const Args& args) {
  CalibrationOptions options = usual_calibration(args.options);
  if (args.alpha != "auto") {
    OCTET_ASSIGN_OR_RETURN(options.smooth, parse_alpha(args.alpha));
  }
  if (args.weights != "auto") {
    OCTET_ASSIGN_OR_RETURN(options.weights, parse_rounding(args.weights));
  }
  OCTET_ASSIGN_OR_RETURN(options.observer, parse_observer(args.observer));
  options.strict_static = args.strict_static;
  options.keep_static = args.keep_static;
  OCTET_ASSIGN_OR_RETURN(options.kv, static_kv(args));
  options.n_threads = args.model.threads;
  return options;
}

Result<Calibration> calibrate_for(const Args& args, const std::shared_ptr<Checkpoint>& checkpoint,
                                  const CalibrationOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const auto schemes, quantized_schemes(*checkpoint, args.options, true));
  OCTET_RETURN_IF_ERROR(check_output_folder(args.output));  // now, not after minutes
  OCTET_ASSIGN_OR_RETURN(const auto sequences, calibration_sequences(args.model, checkpoint, args.text));
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(args.model));
  return calibrate(*checkpoint, *ops, schemes, sequences, options);
}

// Options that would do nothing.
Status check_no_data(const Args& args) {
  const char* option = !args.report.empty()                                  ? "--report"
                       : args.text.files != std::vector<std::string>{"self"} ? "--calibration"
                                                                             : nullptr;
  if (option == nullptr) return {};
  return invalid_argument(std::string(option) + ": " + args.options.scheme +
                          " takes no calibration; --weights gptq or mse does, or --kv-dtype");
}

Result<QuantizeReport> quantize(Args& args) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  if (!args.recipe.empty()) {
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(args.recipe));
    OCTET_ASSIGN_OR_RETURN(const auto recipe, parse_recipe(text, args.recipe, checkpoint->config));
    apply_recipe(recipe, &args.options);
  }
  OCTET_ASSIGN_OR_RETURN(const CalibrationOptions how, calibration_options(args));
  if (!needs_calibration(args.options) && how.weights == WeightRounding::kAbsmax && args.alpha == "auto" &&
      args.kv_dtype == "auto") {
    OCTET_RETURN_IF_ERROR(check_no_data(args));
    return quantize_checkpoint(*checkpoint, args.options, args.output);
  }
  OCTET_ASSIGN_OR_RETURN(const auto calibration, calibrate_for(args, checkpoint, how));
  OCTET_ASSIGN_OR_RETURN(auto report,
                         quantize_checkpoint(*checkpoint, args.options, args.output, &calibration));
  log_info("calibration: " + calibration_summary(calibration) + "; details in " + args.output +
           "/calibration.json");
  if (args.report.empty()) return report;
  OCTET_RETURN_IF_ERROR(
      write_text_file(args.report, render_html(calibration_page(calibration, checkpoint->config.name,
                                                                args.options.scheme, typed_command()))));
  return report;
}

int run(Args& args) {
  if (args.recipe.empty() && args.options.scheme.empty()) {
    return fail(invalid_argument("--scheme is required, or --recipe FILE; see octet quantize --help"));
  }
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
  add_calibration_text_options(command, args.text);
  command.add_option("--seed", args.text.seed, "of the model's own text")->capture_default_str();
  command
      .add_option(
          "--alpha", args.alpha,
          "SmoothQuant's share of outliers that goes into the weights: search (layer by layer, by the error "
          "of the layer's output), none, or a number from 0 to 1")
      ->capture_default_str();
  command
      .add_option(
          "--weights", args.weights,
          "rounding of the weights: absmax (without data; w4a16: scales of least error), mse (scales of "
          "least error for the inputs seen), gptq (errors made good by the columns not yet rounded), "
          "auto (gptq for w4a16, else absmax)")
      ->capture_default_str();
  command
      .add_option("--observer", args.observer,
                  "what a static input's scale is made for: absmax, percentile[:99.99], mse")
      ->capture_default_str();
  auto* strict = command.add_flag(
      "--strict-static", args.strict_static,
      "stop where a static scale is not safe on held-back data, instead of making that input dynamic");
  command
      .add_flag("--keep-static", args.keep_static,
                "keep static scales that are not safe, to measure what they cost")
      ->excludes(strict);
  command.add_option("--kv-dtype", args.kv_dtype,
                     "int8 or fp8: calibrated static scales of the KV cache go into the checkpoint");
  command.add_option("--kv-scales", args.kv_scales, "of the KV cache: tensor (one a layer) or head")
      ->capture_default_str();
  command.add_option("--report", args.report,
                     "HTML file with pictures of the inputs' ranges, before and after smoothing");
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
  auto* recipe = command->add_option("--recipe", args->recipe,
                                     "file that names the scheme of each layer, as `octet advise` writes it");
  command
      ->add_option(
          "--scheme", args->options.scheme,
          "int8 (SmoothQuant), int8-minmax, int8-static[-asym], fp8, fp8-static, llm-int8[:6], w8a16, "
          "w8a16-fp8, w4a16[:128], bf16 or fp16")
      ->excludes(recipe);
  command->add_option("-o,--output", args->output, "folder to write")->required();
  command->add_option("--exclude", args->options.exclude, "regular expression over layers that stay 16 bit")
      ->excludes(recipe);
  command
      ->add_option("--override", args->options.overrides,
                   "REGEX=SCHEME: layers in another scheme; the last that matches wins")
      ->allow_extra_args(false)
      ->excludes(recipe);
  command->add_flag("--quantize-head", args->options.quantize_head, "the output head too")->excludes(recipe);
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
