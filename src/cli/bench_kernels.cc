// `octet bench kernels`: the ops of a model one by one.
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "bench/kernels.h"
#include "cli/bench_commands.h"
#include "cli/session.h"
#include "formats/file_output.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  KernelBenchOptions kernels;
  std::string scheme, kv_dtype = "auto", output;
  bool json = false;
};

int run(const Args& args) {
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  auto checkpoint = open_checkpoint(args.model);
  if (!checkpoint.ok()) return fail(checkpoint.status());
  auto ops = make_ops(args.model);
  if (!ops.ok()) return fail(ops.status());
  ModelOptions model = args.model.options;
  model.scheme = args.scheme;
  model.kv_dtype = args.kv_dtype;
  const auto report =
      bench_kernels(std::move(checkpoint).value(), std::move(ops).value(), model, args.kernels);
  if (!report.ok()) return fail(report.status());
  const auto json = to_json(*report);
  std::printf("%s\n", args.json ? json.dump(2).c_str() : kernel_table(*report).c_str());
  if (!args.output.empty()) {
    if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  }
  return 0;
}

}  // namespace

void add_bench_kernels(CLI::App& bench, Action& action) {
  auto args = std::make_shared<Args>();
  auto* command = bench.add_subcommand(
      "kernels", "Each op of a model: microseconds, bytes, FLOP, share of what the device can do");
  const auto list = [&](const char* name, std::vector<int32_t>& values, const char* help) {
    command->add_option(name, values, help)->delimiter(',')->capture_default_str();
  };
  command->add_option("MODEL", args->model.model, "checkpoint: a Hugging Face folder or a .gguf file");
  command->add_option("--random-weights", args->model.random_weights, "or a shape, such as llama-3.1-8b")
      ->excludes("MODEL");
  command->add_option("--scheme", args->scheme, "of the weights and inputs (default: as stored)");
  command->add_option("--kv-dtype", args->kv_dtype, "KV cache: auto, bf16, fp16, int8, fp8")
      ->capture_default_str();
  command->add_option("--backend", args->model.backend, "auto, cpu, cuda, or reference")
      ->capture_default_str();
  command->add_option("--device", args->model.device, "GPU of the cuda backend")->capture_default_str();
  command->add_option("--threads", args->model.threads, "threads of the cpu backend (default: all cores)");
  command
      ->add_option("--kernel-plans", args->model.kernel_plans,
                   "cuda: auto, off, or a file, as for `octet serve`")
      ->capture_default_str();
  list("--tokens", args->kernels.tokens, "rows of linear layers, norms, activations, rotations");
  list("--batches", args->kernels.batches, "sequences of decode attention and of sampling");
  list("--contexts", args->kernels.contexts, "tokens that each of these sequences has");
  list("--prompts", args->kernels.prompts, "tokens of a prompt, for prefill attention");
  command->add_option("--seconds", args->kernels.seconds, "of one measurement")->capture_default_str();
  command->add_option("--repeats", args->kernels.repeats, "the median of these is reported")
      ->capture_default_str();
  command->add_flag("--json", args->json, "print JSON");
  command->add_option("--output", args->output, "also write the JSON to this file");
  command->footer(
      "Example:\n  octet bench kernels --random-weights llama-3.1-8b --scheme fp8 --tokens 1,64,2048");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
