#include "quantize/quantize.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/session.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  QuantizeOptions options;
  std::string output;
  bool json = false;
};

int run(const Args& args) {
  auto checkpoint = open_checkpoint(args.model);
  if (!checkpoint.ok()) return fail(checkpoint.status());
  const auto report = quantize_checkpoint(**checkpoint, args.options, args.output);
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

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("quantize", "Write a checkpoint with 8-bit weights that other engines load too");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model.model, "16-bit checkpoint: a Hugging Face folder or a .gguf file")
      ->required();
  command->add_option("--scheme", args->options.scheme, "int8-minmax, fp8, bf16 or fp16")->required();
  command->add_option("-o,--output", args->output, "folder to write")->required();
  command->add_option("--exclude", args->options.exclude, "regular expression over layers that stay 16 bit");
  command->add_flag("--quantize-head", args->options.quantize_head, "the output head too");
  command->add_flag("--json", args->json, "print the result as JSON");
  command->footer(
      "Example:\n  octet quantize models/smollm2-135m-instruct.gguf --scheme int8-minmax -o smollm2-int8\n"
      "  octet quantize Llama-3.1-8B --scheme fp8 --exclude 'layers\\.0\\.' -o llama-fp8");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
