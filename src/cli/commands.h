// The commands of `octet`, a file each. Every one adds its options to the application and, when chosen, runs
// and returns the exit code: 0 done, 1 failed, 2 asked for something that makes no sense.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace octet {

// Set by the command that was chosen on the command line.
using Action = std::function<int()>;

void add_quantize(CLI::App& app, Action& action);
void add_plant(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_devices(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_profile(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_completion(CLI::App& app, Action& action);

}  // namespace octet
