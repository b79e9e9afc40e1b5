#include "cli/eval_session.h"

#include <csignal>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "formats/file_output.h"
#include "text/utf8.h"

namespace octet {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) {
  g_interrupted = 1;
}

// FNV-1a: two files of one name are told apart.
std::string fingerprint(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return fmt::format("{} bytes, {:016x}", text.size(), hash);
}

// Bytes of cache that `tokens` take, whole pages.
Result<int64_t> cache_bytes(const ModelArgs& args, const ModelOptions& options, int64_t context,
                            int64_t sequences) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args));
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(args));
  ModelOptions unbounded = options;
  unbounded.kv_bytes = int64_t{1} << 50;
  unbounded.max_batch = 1;
  OCTET_ASSIGN_OR_RETURN(const MemoryPlan plan, Model::plan(*checkpoint, *ops, unbounded));
  const int64_t pages = (context + plan.page_size - 1) / plan.page_size;
  return sequences * pages * plan.page_size * plan.kv_bytes_per_token;
}

}  // namespace

void add_eval_options(CLI::App& command, EvalArgs& args, const std::string& data, const std::string& format,
                      int32_t max_batch) {
  args.model.options.max_batch = max_batch;
  add_model_options(command, args.model);
  args.data = data;
  command.add_option("--baseline", args.baseline, "checkpoint to compare with, run as it is stored");
  command.add_option("--data", args.data, format)->capture_default_str();
  command.add_flag("--json", args.json, "print JSON");
  command.add_option("--output", args.output,
                     "also write the JSON to this file; what is done so far is kept beside it, and the same "
                     "command goes on from there after an interruption");
}

void add_window_options(CLI::App& command, WindowOptions& window) {
  command.add_option("--window", window.window, "tokens the model sees at once")->capture_default_str();
  command.add_option(
      "--stride", window.stride,
      "tokens from window to window; each token is scored once, after at least window - stride "
      "others (default: windows side by side)");
  command.add_flag("--bos", window.bos, "begin every window with the model's BOS token");
  command.add_option("--limit", window.limit, "windows (default: all)")->check(at_least_one());
}

Status check_data(const std::string& path, const std::string& format, const std::string& option) {
  if (std::filesystem::exists(path)) return {};
  return not_found(path + ": not there; expected " + format + "; " + option + " gives another path");
}

Result<std::string> read_eval_text(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(std::string text, read_text_file(path));
  if (!is_valid_utf8(text)) return corrupt(path + ": the text is not UTF-8; convert it first");
  return text;
}

Result<Session> open_eval_session(ModelArgs args, int32_t context, int32_t sequences) {
  ModelOptions& options = args.options;
  if (options.max_context == 0) options.max_context = context;
  if (args.kv_memory.empty()) {
    OCTET_ASSIGN_OR_RETURN(const int64_t bytes, cache_bytes(args, options, options.max_context, sequences));
    options.kv_bytes = bytes;
  }
  return open_session(args, true);
}

Result<int32_t> context_for(const ModelArgs& args, int32_t longest) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args));
  return std::min(longest, checkpoint->config.max_context);
}

ModelArgs baseline_args(const ModelArgs& model, const std::string& baseline) {
  ModelArgs args = model;
  args.model = baseline;
  args.options.scheme.clear();
  args.options.exclude.clear();
  args.options.overrides.clear();
  args.options.quantize_head = false;
  args.options.kv_dtype = "auto";
  return args;
}

nlohmann::ordered_json describe_eval(const EvalArgs& args, const std::string& task) {
  nlohmann::ordered_json description = {{"task", task}, {"model", args.model.model}};
  const ModelOptions& o = args.model.options;
  if (!o.scheme.empty()) description["scheme"] = o.scheme;
  if (!o.exclude.empty()) description["exclude"] = o.exclude;
  if (!o.overrides.empty()) description["overrides"] = o.overrides;
  if (o.quantize_head) description["quantize_head"] = true;
  description["kv_dtype"] = o.kv_dtype;
  if (!args.baseline.empty()) description["baseline"] = args.baseline;
  description["data"] = args.data;
  return description;
}

Result<Journal> open_journal(const EvalArgs& args, const nlohmann::ordered_json& description,
                             const std::string& data_text) {
  OCTET_RETURN_IF_ERROR(check_outputs({args.output}));
  nlohmann::json run = description;
  run["data_fingerprint"] = fingerprint(data_text);
  return Journal::open(args.output.empty() ? "" : args.output + ".state", run);
}

UnitRun unit_run(const std::string& title, const std::string& counted) {
  std::signal(SIGINT, on_interrupt);
  return {title, counted, [] { return g_interrupted != 0; }};
}

int fail_eval(const Status& status, const EvalArgs& args) {
  if (status.code() != StatusCode::kUnavailable || g_interrupted == 0) return fail(status);
  return fail(unavailable(status.message() + (args.output.empty() ? "; with --output it could be continued"
                                                                  : "; the same command goes on from " +
                                                                        args.output + ".state")));
}

int print_eval(const EvalArgs& args, const nlohmann::ordered_json& json, const std::string& table,
               Journal& journal) {
  std::printf("%s\n", args.json ? json.dump(2).c_str() : table.c_str());
  if (args.output.empty()) return 0;
  if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  journal.remove();
  return 0;
}

void add_eval(CLI::App& app, Action& action) {
  auto* eval =
      app.add_subcommand("eval", "Measure quality: perplexity, divergence, questions with known answers");
  eval->require_subcommand(1);
  add_eval_text(*eval, action);
  add_eval_tasks(*eval, action);
  add_eval_compare(*eval, action);
}

}  // namespace octet
