#include <cstdio>
#include <string>

#include "base/log.h"
#include "cli/advise.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/typed_command.h"
#include "cli/version.h"

namespace {

// "octet bench throughput": as far as the command line was understood.
std::string command_path(const CLI::App& app) {
  std::string path = app.get_name();
  for (const auto* sub : app.get_subcommands()) path += " " + command_path(*sub);
  return path;
}

}  // namespace

int main(int argc, char** argv) {
  octet::remember_command(argc, argv);
  CLI::App app("Octet: an inference server for large language models with 8-bit weights and activations",
               "octet");
  app.set_version_flag("--version", std::string("octet ") + octet::kVersion);
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Print the help of every command and exit");
  app.get_formatter()->column_width(34);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "debug, info, warning, error, off")->capture_default_str();
  app.fallthrough();

  octet::Action action;
  octet::add_quantize(app, action);
  octet::add_plant(app, action);
  octet::add_serve(app, action);
  octet::add_generate(app, action);
  octet::add_chat(app, action);
  octet::add_inspect(app, action);
  octet::add_tokenize(app, action);
  octet::add_devices(app, action);
  octet::add_eval(app, action);
  octet::add_bench(app, action);
  octet::add_profile(app, action);
  octet::add_report(app, action);
  octet::add_advise(app, action);
  octet::add_completion(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "octet: error: %s; see %s --help\n", error.what(), command_path(app).c_str());
    return 2;
  }
  if (const auto status = octet::init_logging(log_level); !status.ok()) return octet::fail(status);
  return action();
}
