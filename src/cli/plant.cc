#include "quantize/plant.h"

#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/session.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  PlantOptions options;
  std::string output;
};

Status plant(const Args& args) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  QuantizeOptions how;
  how.scheme = checkpoint->config.dtype == QType::kF16 ? "fp16" : "bf16";
  Calibration planted;  // nothing was observed: the recipe alone
  OCTET_ASSIGN_OR_RETURN(planted.schemes, quantized_schemes(*checkpoint, how, false));
  OCTET_ASSIGN_OR_RETURN(planted.recipe, plant_outliers(*checkpoint, args.options));
  return quantize_checkpoint(*checkpoint, how, args.output, &planted).status();
}

}  // namespace

void add_plant(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "plant", "Write the same 16-bit model with outlier channels, to see what they cost a scheme");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model.model, "16-bit checkpoint: a Hugging Face folder or a .gguf file")
      ->required();
  command->add_option("-o,--output", args->output, "folder to write")->required();
  command->add_option("--strength", args->options.strength, "how much louder, a power of two")
      ->capture_default_str();
  command->add_option("--channels", args->options.channels, "of every norm before a linear layer")
      ->capture_default_str();
  command->add_option("--seed", args->options.seed, "of the choice of channels")->capture_default_str();
  command->footer(
      "Example:\n  octet plant models/smollm2-135m-instruct.gguf --strength 16 -o smollm2-planted\n"
      "  octet quantize smollm2-planted --scheme int8 -o smollm2-planted-int8");
  command->callback([args, &action] {
    action = [args] {
      if (const Status status = plant(*args); !status.ok()) return fail(status);
      std::printf("%s: %d channels of every norm %d times louder\n", args->output.c_str(),
                  args->options.channels, args->options.strength);
      return 0;
    };
  });
}

}  // namespace octet
