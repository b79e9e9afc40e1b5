// What the commands of `octet eval` share: options, models sized for the work, the journal beside the output,
// printing.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/session.h"
#include "eval/units.h"
#include "eval/windows.h"

namespace octet {

struct EvalArgs {
  ModelArgs model;
  std::string baseline;  // checkpoint; empty: none, or what the command says
  std::string data;
  std::string output;
  int64_t limit = 0;
  bool json = false;
};

// `data`: the path looked at where --data is not given; `format`: what should be there, for help and errors.
// `max_batch`: the default of sequences, and of rows of logits, in a step.
void add_eval_options(CLI::App& command, EvalArgs& args, const std::string& data, const std::string& format,
                      int32_t max_batch = 256);
void add_window_options(CLI::App& command, WindowOptions& window);

// kNotFound where `path` is not there: names what was expected, and the option that gives it.
Status check_data(const std::string& path, const std::string& format, const std::string& option = "--data");

// A text to be evaluated on.
Result<std::string> read_eval_text(const std::string& path);

// A model for sequences of `context` tokens, with cache for `sequences` of them (unless --kv-memory says
// otherwise).
Result<Session> open_eval_session(ModelArgs args, int32_t context, int32_t sequences);
// The same machine and options for another checkpoint, in the scheme that it is stored in.
ModelArgs baseline_args(const ModelArgs& model, const std::string& baseline);

// Which run this is, for the journal and the output.
nlohmann::ordered_json describe_eval(const EvalArgs& args, const std::string& task);
// "<output>.state" where there is an output.
Result<Journal> open_journal(const EvalArgs& args, const nlohmann::ordered_json& description,
                             const std::string& data_text);
// From now on Ctrl-C ends the work after the unit at hand.
UnitRun unit_run(const std::string& title, const std::string& counted);
// As fail(); where the user interrupted, says how to go on.
int fail_eval(const Status& status, const EvalArgs& args);

// JSON or `table` to stdout, JSON to --output; then the journal is done with.
int print_eval(const EvalArgs& args, const nlohmann::ordered_json& json, const std::string& table,
               Journal& journal);

// `longest`, or the model's own context where that is shorter.
Result<int32_t> context_for(const ModelArgs& args, int32_t longest);

void add_eval_text(CLI::App& eval, Action& action);     // perplexity, divergence
void add_eval_tasks(CLI::App& eval, Action& action);    // mmlu, arc, piqa, gsm8k
void add_eval_compare(CLI::App& eval, Action& action);  // compare

}  // namespace octet
