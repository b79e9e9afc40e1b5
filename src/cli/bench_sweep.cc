// `octet bench sweep`: one process a scheme, so that nothing that one of them leaves behind touches the next.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "bench/sweep.h"
#include "cli/bench_commands.h"
#include "cli/session.h"
#include "cli/typed_command.h"
#include "cli/version.h"
#include "formats/file_output.h"

namespace octet {
namespace {

constexpr std::string_view kRowBegins = R"({"kind":"sweep",)";

struct Args {
  ModelArgs model;
  SweepOptions sweep;
  std::vector<std::string> workloads = {"2048/128", "128/2048"};
  std::vector<std::string> schemes, kv_dtypes = {"auto"};
  std::string output;
  bool json = false;
};

// A scheme and a cache, as asked for: what one process measures.
struct Variant {
  std::string scheme, kv_dtype;
  bool made(const nlohmann::ordered_json& row) const {
    return row.value("asked_scheme", "") == scheme && row.value("asked_kv_dtype", "") == kv_dtype;
  }
};

std::vector<Variant> variants(const Args& args) {
  std::vector<Variant> all;
  for (const auto& scheme : args.schemes) {
    for (const auto& kv : args.kv_dtypes) all.push_back({scheme, kv});
  }
  return all;
}

Result<std::vector<nlohmann::ordered_json>> read_rows(const std::string& path) {
  std::vector<nlohmann::ordered_json> rows;
  std::ifstream file(path);
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    auto row = nlohmann::ordered_json::parse(line, nullptr, false);
    const bool usable = row.is_object() && row.contains("output_tok_s") && row.contains("cell");
    // A last one that was cut short is measured again; what no sweep began to write is somebody's file.
    if (row.is_discarded() && file.peek() == EOF &&
        (line.starts_with(kRowBegins) || kRowBegins.starts_with(line)))
      break;
    if (!usable) {
      return corrupt(path + ": line " + std::to_string(number) +
                     " is no row of a sweep; give another file to --output, or remove this one");
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Status write_rows(const std::string& path, const std::vector<nlohmann::ordered_json>& rows) {
  std::ofstream file(path, std::ios::trunc);
  for (const auto& row : rows) file << row.dump() << "\n";
  file.flush();
  return file ? Status() : invalid_argument(path + ": cannot write the file");
}

Status append_row(const std::string& path, const nlohmann::ordered_json& row) {
  std::ofstream file(path, std::ios::app);
  file << row.dump() << "\n";
  file.flush();
  return file ? Status() : resource_exhausted(path + ": cannot write the row; is the disk full?");
}

// All cells of one repeat of one variant that are not there yet.
Status measure(Args args, const Variant& variant, int32_t repeat, const std::set<std::string>& done) {
  ModelOptions& options = args.model.options;
  options.scheme = variant.scheme == "stored" ? "" : variant.scheme;
  options.kv_dtype = variant.kv_dtype;
  options.max_batch = *std::ranges::max_element(args.sweep.max_batches);
  if (options.max_step_tokens > 0)
    options.max_step_tokens = std::max(options.max_step_tokens, options.max_batch);
  if (options.max_context == 0) options.max_context = longest_context(args.sweep);
  OCTET_ASSIGN_OR_RETURN(const Session session, open_session(args.model, false));
  const auto on_row = [&](const SweepCell& cell, nlohmann::ordered_json measured) {
    nlohmann::ordered_json row = {{"kind", "sweep"},
                                  {"cell", cell.key()},
                                  {"asked_scheme", variant.scheme},
                                  {"asked_kv_dtype", variant.kv_dtype},
                                  {"model", session.name()},
                                  {"scheme", session.model->scheme_name()},
                                  {"quantized_head", options.quantize_head},
                                  {"kv_dtype", session.model->kv_name()},
                                  {"device", session.model->ops().info().device}};
    row.update(measured);
    row.update({{"version", kVersion}, {"command", typed_command()}});
    return append_row(args.output, row);
  };
  return bench_sweep(*session.model, args.sweep, sweep_cells(args.sweep, repeat), done, on_row);
}

// What a process writes until it ends.
std::string read_all(int from) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(from, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  return text;
}

// In a process of its own, which gives its error through a pipe; nothing has started a thread yet.
Status measure_apart(const Args& args, const Variant& variant, int32_t repeat,
                     const std::set<std::string>& done) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  int ends[2];
  const pid_t child = ::pipe(ends) == 0 ? fork() : -1;
  if (child < 0) return resource_exhausted("cannot start another process for the next scheme");
  if (child == 0) {
    ::close(ends[0]);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // whoever ends the sweep ends this process too
    if (::getppid() != parent) _exit(1);
    const Status status = measure(args, variant, repeat, done);
    const std::string error = status.ok() ? "" : status.message();
    const bool told = ::write(ends[1], error.data(), error.size()) == static_cast<ssize_t>(error.size());
    std::fflush(nullptr);
    _exit(status.ok() && told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string error = read_all(ends[0]);
  ::close(ends[0]);
  int state = 0;
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  if (error.empty()) {
    error = WIFSIGNALED(state) ? "its process ended by signal " + std::to_string(WTERMSIG(state))
                               : std::string("its process ended without a reason");
  }
  return internal_error(variant.scheme + ", KV cache " + variant.kv_dtype + ": " + error +
                        "; the same command goes on from what was measured");
}

// What would be wrong with every cell is told once.
Status check_model(const Args& args) {
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(args.model));
  const int32_t longest = longest_context(args.sweep), most = checkpoint->config.max_context;
  if (longest <= most) return {};
  return invalid_argument("--workloads: requests of " + std::to_string(longest) +
                          " tokens, and the model was made for " + std::to_string(most) + " at most");
}

int run(Args args) {
  for (const auto& text : args.workloads) {
    const auto workload = parse_workload(text);
    if (!workload.ok()) return fail(workload.status());
    args.sweep.workloads.push_back(*workload);
  }
  const auto below = [](const auto& list, auto least) {
    return std::ranges::any_of(list, [&](auto v) { return v < least; });
  };
  if (below(args.sweep.max_batches, 1) || below(args.sweep.rates, 0.0) || args.sweep.repeats < 1 ||
      args.sweep.requests_per_sequence < 1) {
    return fail(invalid_argument(
        "--max-batches, --repeats and --requests-per-sequence must be at least 1, --rates 0"));
  }
  if (args.schemes.empty()) args.schemes = {"stored"};
  if (auto status = check_variants(args.schemes, args.kv_dtypes); !status.ok()) return fail(status);
  if (auto status = check_model(args); !status.ok()) return fail(status);
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  auto rows = read_rows(args.output);
  if (!rows.ok()) return fail(rows.status());
  if (std::filesystem::exists(args.output)) {  // without a last line that was cut short
    if (auto status = write_rows(args.output, *rows); !status.ok()) return fail(status);
  }
  if (!rows->empty())
    log_info("sweep: " + std::to_string(rows->size()) + " rows are there already, in " + args.output);

  std::mt19937_64 random(args.sweep.seed);
  int code = 0;
  for (int32_t repeat = 0; repeat < args.sweep.repeats; ++repeat) {
    auto order = variants(args);
    std::shuffle(order.begin(), order.end(), random);
    for (const Variant& variant : order) {
      std::set<std::string> done;
      for (const auto& row : *rows) {
        if (variant.made(row)) done.insert(row.at("cell").get<std::string>());
      }
      const auto cells = sweep_cells(args.sweep, repeat);
      if (std::ranges::all_of(cells, [&](const SweepCell& cell) { return done.contains(cell.key()); }))
        continue;
      if (auto status = measure_apart(args, variant, repeat, done); !status.ok()) code = fail(status);
    }
  }
  rows = read_rows(args.output);
  if (!rows.ok()) return fail(rows.status());
  if (rows->empty()) return code;
  const nlohmann::ordered_json all = *rows;
  std::printf("%s\n", args.json ? all.dump(2).c_str() : sweep_table(*rows).c_str());
  return code;
}

}  // namespace

void add_bench_sweep(CLI::App& bench, Action& action) {
  auto args = std::make_shared<Args>();
  args->sweep.max_batches = {1, 4, 16, 64};
  auto* command = bench.add_subcommand("sweep", "Throughput over schemes, workloads, batch sizes and rates");
  add_model_options(*command, args->model, ModelOptionSet::kWithoutVariant);
  command->add_option("--schemes", args->schemes, "comma separated; stored: as the checkpoint has it")
      ->delimiter(',');
  command->add_option("--kv-dtypes", args->kv_dtypes, "comma separated")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--workloads", args->workloads,
                   "INPUT/OUTPUT tokens, comma separated; INPUT/OUTPUTxN: with N requests a sequence")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--max-batches", args->sweep.max_batches, "comma separated")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--rates", args->sweep.rates, "requests a second, comma separated; 0: all at once")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--requests-per-sequence", args->sweep.requests_per_sequence,
                   "a run has max batch times as many requests")
      ->capture_default_str();
  command->add_option("--repeats", args->sweep.repeats, "the table shows medians")->capture_default_str();
  command
      ->add_option("--output", args->output, "JSON Lines; rows that are there already are not measured again")
      ->required();
  command->add_flag("--json", args->json, "print all rows as JSON");
  command->footer(
      "Example:\n  octet bench sweep models/smollm2-135m-instruct.gguf --schemes bf16,int8-minmax "
      "--workloads "
      "256/32,32/256 --max-batches 1,4,16 --repeats 3 --output sweep.jsonl");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
