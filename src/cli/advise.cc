#include "cli/advise.h"

#include <cstdio>
#include <memory>

#include "cli/calibration_options.h"
#include "formats/file_output.h"
#include "quantize/recipe_file.h"

namespace octet {
namespace {

Status write_recipe(const AdviseArgs& args, const Advice& advice) {
  if (args.recipe.empty()) return {};
  if (advice.layers && advice.best().variant == advice.layers->variant) {
    return write_text_file(args.recipe, recipe_text(advice.layers->recipe));
  }
  const std::string& scheme = advice.candidates[advice.best().variant];
  if (!scheme_by_name(scheme).ok()) {
    return unsupported("--recipe: " + scheme + " is no scheme that a recipe can name");
  }
  return write_text_file(args.recipe, recipe_text({scheme, {}, args.model.options.quantize_head}));
}

int run(const AdviseArgs& args) {
  if (auto status = check_outputs({args.output, args.recipe}); !status.ok()) return fail(status);
  const auto advice = measure_variants(args);
  if (!advice.ok()) return fail(advice.status());
  const auto json = to_json(*advice);
  std::printf("%s\n", args.json ? json.dump(2).c_str() : to_text(*advice).c_str());
  if (!args.output.empty()) {
    if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  }
  if (!advice->found()) return fail(nothing_found(*advice));
  if (auto status = write_recipe(args, *advice); !status.ok()) return fail(status);
  return 0;
}

void add_bounds(CLI::App& command, AdviseArgs& args) {
  command.add_option("--quality", args.quality,
                     "what may be lost beside the model as it is stored: kl<0.02, ppl<1%, top1>95%, several "
                     "with commas (default: quality is not measured)");
  command.add_option("--memory", args.memory,
                     "for weights, cache and scratch, such as 40GiB (default: what the device has)");
  command.add_option("--ttft", args.ttft, "to the first token of nine requests in ten, such as 200ms");
}

}  // namespace

void add_advise(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("advise", "Measure the schemes here and say which to use, and why");
  auto args = std::make_shared<AdviseArgs>();
  add_model_options(*command, args->model, ModelOptionSet::kWithoutVariant);
  args->model.options.longest_default_step = kLongestServedStep;
  for (const char* option : {"--kv-memory", "--max-context", "--no-prefix-cache"}) {
    command->remove_option(
        command->get_option(option));  // they follow from the workload, which shares nothing
  }
  command->add_option("--workload", args->workload, "tokens of a prompt / of an answer")
      ->capture_default_str();
  command->add_option("--rate", args->rate, "requests a second, Poisson (default: all at once)");
  command
      ->add_option("--requests", args->requests, "how many (default: --max-batch of them, with --rate 100)")
      ->check(at_least_one());
  command->add_option("--max-batch", args->max_batch, "sequences in a step")->capture_default_str();
  add_bounds(*command, *args);
  command
      ->add_option("--schemes", args->schemes,
                   "comma separated, as in `octet eval compare`; the model as it is stored is always there")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--kv-dtypes", args->kv_dtypes, "of the KV cache, comma separated: auto, int8, fp8, ...")
      ->delimiter(',')
      ->capture_default_str();
  auto* data = command->add_option(
      "--data", args->data, "text in UTF-8 that quality is measured on (default: the model writes its own)");
  command
      ->add_option("--quality-from", args->quality_from, "or take it from the JSON of `octet eval compare`")
      ->excludes(data);
  command->add_option("--windows", args->windows, "of 512 tokens that quality is measured on")
      ->capture_default_str();
  add_calibration_text_options(*command, args->calibration);
  command->add_option("--checkpoints", args->checkpoints,
                      "folder that keeps the checkpoints of calibrated schemes (default: none is kept)");
  auto* check =
      command->add_flag("--check", args->check,
                        "run the workload on the recommended scheme, however long it takes (default: "
                        "where it takes less than a minute)");
  command->add_flag("--no-check", args->no_check, "do not run it")->excludes(check);
  command->add_option(
      "--recipe", args->recipe,
      "write what `octet quantize --recipe` takes to this file; with --quality, where no fast scheme "
      "meets the bounds, layers are measured one by one, for a scheme each");
  command->add_flag("--json", args->json, "print JSON");
  command->add_option("--output", args->output, "also write the JSON to this file");
  command->footer(
      "Example:\n  octet advise models/smollm2-135m-instruct.gguf --workload 256/64 --max-batch 16 --quality "
      "'kl<0.02'\n"
      "  octet advise Llama-3.1-8B --workload 2048/128 --rate 4 --max-batch 64 --quality 'kl<0.02' --memory "
      "40GiB --ttft 200ms");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
