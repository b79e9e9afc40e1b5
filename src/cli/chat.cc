#include <csignal>
#include <cstdio>
#include <iostream>
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
  std::string system;
};

// Ctrl-C ends the answer that is being written; at the prompt it ends the program.
volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) {
  g_interrupted = 1;
}

// The conversation so far as the model's template spells it, in tokens.
Result<std::vector<int32_t>> encode_chat(const Session& session, const nlohmann::ordered_json& messages) {
  const nlohmann::ordered_json context = {{"messages", messages},
                                          {"add_generation_prompt", true},
                                          {"bos_token", session.tokenizer->bos_token()},
                                          {"eos_token", session.tokenizer->eos_token()}};
  OCTET_ASSIGN_OR_RETURN(const std::string text, session.chat_template->render(context));
  return session.tokenizer->encode(text, {.add_special_tokens = false, .parse_special = true});
}

int run(Args& args) {
  args.model.options.max_batch = 1;
  auto session = open_session(args.model, true);
  if (!session.ok()) return fail(session.status());
  if (!session->chat_template) {
    return fail(unsupported(session->checkpoint->path + ": no chat template; use `octet generate`"));
  }
  if (auto status = start_engine(*session, args.model); !status.ok()) return fail(status);
  const auto options = text_run_options(args.sampling, *session->checkpoint, args.model.seed);

  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!args.system.empty()) messages.push_back({{"role", "system"}, {"content", args.system}});
  std::fprintf(stderr, "%s (%s). An empty line or Ctrl-D ends; Ctrl-C stops an answer.\n",
               session->name().c_str(), session->model->scheme_name().c_str());
  std::string line;
  while (std::printf("> "), std::fflush(stdout), std::getline(std::cin, line) && !line.empty()) {
    messages.push_back({{"role", "user"}, {"content", line}});
    auto prompt = encode_chat(*session, messages);
    if (!prompt.ok()) return fail(prompt.status());
    g_interrupted = 0;
    std::signal(SIGINT, on_interrupt);
    const auto result = run_text(
        *session, std::move(prompt).value(), options,
        [](const std::string& text) {
          std::fputs(text.c_str(), stdout);
          std::fflush(stdout);
        },
        [] { return g_interrupted != 0; });
    std::signal(SIGINT, SIG_DFL);
    std::printf("\n");
    if (!result.ok()) return fail(result.status());
    messages.push_back({{"role", "assistant"}, {"content", result->text}});
  }
  return 0;
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("chat", "Chat in the terminal");
  auto args = std::make_shared<Args>();
  add_model_options(*command, args->model);
  command->add_option("--system", args->system, "system prompt");
  add_sampling_options(*command, args->sampling);
  command->footer("Example:\n  octet chat models/smollm2-135m-instruct-int8 --system 'Answer briefly.'");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
