#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/text_run.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  SamplingArgs sampling;
  std::string prompt;
  bool json = false;
};

int run(Args& args) {
  args.model.options.max_batch = 1;
  if (args.prompt == "-") args.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  auto session = open_session(args.model, true);
  if (!session.ok()) return fail(session.status());
  if (auto status = start_engine(*session, args.model); !status.ok()) return fail(status);
  const auto options = text_run_options(args.sampling, *session->checkpoint, args.model.seed);
  const auto result = run_text(
      *session, session->tokenizer->encode(args.prompt), options,
      [&](const std::string& text) {
        if (args.json) return;
        std::fputs(text.c_str(), stdout);
        std::fflush(stdout);
      },
      nullptr);
  if (!result.ok()) return fail(result.status());
  const double rate = static_cast<double>(result->output_tokens) / result->seconds;
  if (args.json) {
    const nlohmann::ordered_json json = {{"prompt", args.prompt},
                                         {"text", result->text},
                                         {"finish_reason", result->finish_reason},
                                         {"prompt_tokens", result->prompt_tokens},
                                         {"output_tokens", result->output_tokens},
                                         {"ttft_ms", result->ttft_ms},
                                         {"output_tok_s", rate},
                                         {"model", session->name()},
                                         {"scheme", session->model->scheme_name()}};
    std::printf("%s\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  std::printf("\n");
  std::fflush(stdout);
  char line[160];
  std::snprintf(line, sizeof(line), "%lld tokens (%s), first after %.0f ms, %.1f tokens/s",
                static_cast<long long>(result->output_tokens), result->finish_reason.c_str(), result->ttft_ms,
                rate);
  log_info(line);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("generate", "Continue a text in the terminal");
  auto args = std::make_shared<Args>();
  add_model_options(*command, args->model);
  command->add_option("-p,--prompt", args->prompt, "the text to continue; - reads standard input")
      ->required();
  add_sampling_options(*command, args->sampling);
  command->add_flag("--json", args->json, "print the result as JSON");
  command->footer(
      "Example:\n  octet generate models/smollm2-135m-instruct.gguf --scheme int8-minmax -p 'Gravity is' -n "
      "64 "
      "--temperature 0");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
