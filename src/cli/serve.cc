#include <cstdio>
#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "server/server.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  ServerOptions server;
  std::string max_body;
  int drain_seconds = 60;
  bool no_page = false;
};

int run(Args& args) {
  if (!args.max_body.empty()) {
    const auto bytes = parse_size("--max-body", args.max_body);
    if (!bytes.ok()) return fail(bytes.status());
    args.server.max_body_bytes = static_cast<size_t>(*bytes);
  }
  args.server.page = !args.no_page;
  args.server.drain_timeout = std::chrono::seconds(args.drain_seconds);
  // Before a large model is loaded for nothing.
  if (auto status = check_address(args.server); !status.ok()) return fail(status);
  auto session = open_session(args.model, true);
  if (!session.ok()) return fail(session.status());
  if (auto status = start_engine(*session, args.model); !status.ok()) return fail(status);
  if (!session->chat_template)
    log_warning("the checkpoint has no chat template: /v1/chat/completions is refused");

  ServedModel served{.engine = *session->engine, .tokenizer = *session->tokenizer};
  served.chat_template = session->chat_template ? &*session->chat_template : nullptr;
  served.defaults = session->checkpoint->generation;
  served.name = session->name();
  served.scheme = session->model->scheme_name();
  served.kv_cache = session->model->kv_name();
  served.vocab_size = session->model->config().vocab_size;
  served.eos_ids = session->model->config().eos_ids;
  auto server = Server::start(served, args.server);
  if (!server.ok()) return fail(server.status());
  const std::string url = (*server)->url();
  if (args.server.page) std::printf("page:  %s/\n", url.c_str());
  std::printf(
      "API:   %s/v1 (model \"%s\")\n", url.c_str(),
      args.server.served_model_name.empty() ? served.name.c_str() : args.server.served_model_name.c_str());
  std::printf("ready: %s\n", url.c_str());
  std::fflush(stdout);
  run_until_signal(**server);
  const Status engine = session->engine->status();
  return engine.ok() ? 0 : fail(engine);
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("serve", "Serve a model over the OpenAI API, with a chat page");
  auto args = std::make_shared<Args>();
  add_model_options(*command, args->model);
  args->model.options.longest_default_step = kLongestServedStep;
  ServerOptions& s = args->server;
  command->add_option("--host", s.host, "address to listen on")->capture_default_str();
  command->add_option("--port", s.port, "0: any that is free")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  command->add_option("--served-model-name", s.served_model_name, "what requests call the model");
  command->add_option("--api-key", s.api_keys, "key that requests must bring; may be given several times")
      ->allow_extra_args(false);
  command
      ->add_option("--cors-origin", s.cors_origins,
                   "origin whose pages may call the API; * for all; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--max-queue", args->model.max_waiting, "waiting requests above which 429 is answered")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--max-body", args->max_body, "largest request body (default 16MiB)");
  command->add_option("--max-connections", s.max_connections, "open connections above which 503 is answered")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--drain-timeout", args->drain_seconds, "seconds that open requests get after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command->add_flag("--no-page", args->no_page, "no chat page at /");
  command->footer(
      "Example:\n  octet serve models/smollm2-135m-instruct-int8 --port 8000\n"
      "  octet serve Llama-3.1-8B --scheme fp8 --kv-dtype fp8 --max-batch 64");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
