// `octet profile`: where a step's time goes.
#include "bench/profile.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/profile_page.h"
#include "cli/session.h"
#include "cli/typed_command.h"
#include "cli/version.h"
#include "formats/file_output.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  ProfileOptions profile;
  std::vector<std::string> schemes, kv_dtypes = {"auto"};
  std::string output, report, trace;
  bool json = false;
};

Result<ProfileReport> measure(const Args& args) {
  OCTET_RETURN_IF_ERROR(check_outputs({args.output, args.report, args.trace}));
  OCTET_RETURN_IF_ERROR(check_variants(args.schemes, args.kv_dtypes));
  ModelOptions options = args.model.options;
  if (!args.model.kv_memory.empty()) {
    OCTET_ASSIGN_OR_RETURN(options.kv_bytes, parse_size("--kv-memory", args.model.kv_memory));
  }
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  OCTET_RETURN_IF_ERROR(check_profile(args.profile, checkpoint->config));
  const auto factory = [&] { return make_ops(args.model); };
  OCTET_ASSIGN_OR_RETURN(auto report, begin_profile(*checkpoint, factory));
  log_info("device: " + report.device);
  const auto schemes = args.schemes.empty() ? std::vector<std::string>{"stored"} : args.schemes;
  for (const std::string& scheme : schemes) {
    for (const std::string& kv : args.kv_dtypes) {
      options.scheme = scheme == "stored" ? "" : scheme;
      options.kv_dtype = kv;
      log_info("profile: " + scheme + ", KV cache " + kv);
      OCTET_ASSIGN_OR_RETURN(auto variant,
                             profile_variant(checkpoint, factory, options, args.profile, report));
      report.variants.push_back(std::move(variant));
    }
  }
  return report;
}

int run(const Args& args) {
  const auto report = measure(args);
  if (!report.ok()) return fail(report.status());
  nlohmann::ordered_json result = {{"kind", "profile"}, {"version", kVersion}, {"command", typed_command()}};
  result.update(to_json(*report));
  const std::string json = result.dump(2);
  std::printf("%s\n", args.json ? json.c_str() : profile_table(*report).c_str());
  const auto write = [](const std::string& path, const auto& text) {
    return path.empty() ? Status() : write_text_file(path, text());
  };
  for (const Status& status :
       {write(args.output, [&] { return json + "\n"; }),
        write(args.report, [&] { return render_html(profile_page(*report, typed_command())); }),
        write(args.trace, [&] { return to_trace_events(*report).dump() + "\n"; })}) {
    if (!status.ok()) return fail(status);
  }
  return 0;
}

}  // namespace

void add_profile(CLI::App& app, Action& action) {
  auto args = std::make_shared<Args>();
  auto* command = app.add_subcommand(
      "profile", "Where a step's time goes: each kind of op by batch size and context length");
  add_model_options(*command, args->model, ModelOptionSet::kWithoutVariant);
  for (const char* option : {"--max-context", "--no-prefix-cache", "--seed"}) {
    command->remove_option(command->get_option(option));  // steps are driven by hand, with contexts as asked
  }
  const auto list = [&](const char* name, auto& values, const char* help) {
    command->add_option(name, values, help)->delimiter(',')->capture_default_str();
  };
  list("--schemes", args->schemes, "comma separated; stored: as the checkpoint has it");
  list("--kv-dtypes", args->kv_dtypes, "KV caches: auto, bf16, fp16, int8, fp8");
  list("--batches", args->profile.batches, "sequences of a decode step");
  list("--contexts", args->profile.contexts, "tokens that each of them has");
  list("--prefill", args->profile.prompts, "tokens of a prefill step");
  command->add_option("--seconds", args->profile.seconds, "of untraced steps in a repeat")
      ->capture_default_str();
  command->add_option("--repeats", args->profile.repeats, "medians of these are reported")
      ->capture_default_str();
  command->add_flag("--json", args->json, "print JSON");
  command->add_option("--output", args->output, "also write the JSON to this file");
  command->add_option("--report", args->report, "also write a page with pictures, HTML, to this file");
  command->add_option("--trace", args->trace,
                      "also write one traced step of each kind, for Perfetto or chrome://tracing");
  command->footer(
      "Example:\n  octet profile models/smollm2-135m-instruct.gguf --schemes bf16,int8-minmax --batches "
      "1,16 --contexts 128,1024 --report profile.html --trace trace.json");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
