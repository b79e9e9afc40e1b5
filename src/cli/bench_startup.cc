// `octet bench startup`: the program starts itself, as often as asked, with its own command line and the time
// at which it did; the started one loads the model, asks for a token, and prints how long each phase took.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <future>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/tracing_ops.h"
#include "base/log.h"
#include "base/page_cache.h"
#include "bench/startup.h"
#include "cli/bench_commands.h"
#include "cli/session.h"
#include "formats/file_output.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr double kStillCached = 0.02;  // of a checkpoint, where its start still counts as cold
constexpr char kStartedAt[] = "--started-at";

struct Args {
  ModelArgs model;
  int32_t repeats = 3, prompt = 16;
  bool json = false;
  std::string output;
  int64_t started_at = 0;  // steady clock, ns: given to the started one
};

// --- the one that is started

Result<double> first_token_ms(Engine& engine, const Args& args, int32_t vocab_size) {
  auto first = std::make_shared<std::promise<bool>>();
  Request request;
  for (int32_t i = 0; i < args.prompt; ++i) request.prompt.push_back((1000 + 7 * i) % vocab_size);
  request.sampling.max_tokens = 1;
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.on_event = [first, done = false](const OutputEvent&) mutable {
    if (!done) first->set_value(true);
    done = true;
  };
  auto arrived = first->get_future();
  const auto start = Clock::now();
  OCTET_RETURN_IF_ERROR(engine.submit(std::move(request)).status());
  arrived.wait();
  OCTET_RETURN_IF_ERROR(engine.status());
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Result<ordered_json> start_up(const Args& args) {
  const Clock::time_point born{std::chrono::nanoseconds(args.started_at)};
  auto last = born;
  Startup startup;
  const auto phase = [&](const char* name, Clock::time_point now = Clock::now()) {
    startup.phases.push_back({name, std::chrono::duration<double, std::milli>(now - last).count()});
    last = now;
  };
  phase("process");
  ModelOptions options = args.model.options;
  if (!args.model.kv_memory.empty()) {
    OCTET_ASSIGN_OR_RETURN(options.kv_bytes, parse_size("--kv-memory", args.model.kv_memory));
  }
  Session session;
  OCTET_ASSIGN_OR_RETURN(session.checkpoint, open_checkpoint(args.model));
  phase("open the checkpoint");
  if (!session.checkpoint->tokenizer.empty()) {
    OCTET_ASSIGN_OR_RETURN(session.tokenizer, Tokenizer::create(session.checkpoint->tokenizer));
  }
  phase("tokenizer");
  OCTET_ASSIGN_OR_RETURN(auto made, make_ops(args.model));
  phase("device");
  auto owned = std::make_unique<TracingOps>(std::move(made));
  const TracingOps& ops = *owned;
  OCTET_ASSIGN_OR_RETURN(session.model, Model::load(session.checkpoint, std::move(owned), options));
  phase("load");
  // Loading, taken apart: what the backend did of it, and what was left to the loader.
  const double load_ms = startup.phases.back().ms;
  const double memory_ms = 1e3 * ops.load_seconds().memory, weights_ms = 1e3 * ops.load_seconds().weights;
  startup.phases.back() = {"load: read, quantize on the host", load_ms - memory_ms - weights_ms};
  startup.phases.push_back({"load: weights into the backend", weights_ms});
  startup.phases.push_back({"load: reserve memory, KV cache", memory_ms});
  OCTET_RETURN_IF_ERROR(start_engine(session, args.model));
  phase("engine");
  startup.ready_ms = std::chrono::duration<double, std::milli>(last - born).count();
  const int32_t vocab_size = session.model->config().vocab_size;
  OCTET_ASSIGN_OR_RETURN(const double first, first_token_ms(*session.engine, args, vocab_size));
  startup.first_token_ms = startup.ready_ms + first;
  session.engine->drain(std::chrono::seconds(10));
  session.engine.reset();
  OCTET_RETURN_IF_ERROR(start_engine(session, args.model));  // no prefix of the first one is cached
  OCTET_ASSIGN_OR_RETURN(startup.next_first_token_ms, first_token_ms(*session.engine, args, vocab_size));
  return ordered_json{{"model", session.name()},
                      {"scheme", session.model->scheme_name()},
                      {"kv_dtype", session.model->kv_name()},
                      {"device", ops.info().device},
                      {"startup", to_json(startup)}};
}

// --- the one that starts it

Result<std::vector<std::string>> own_command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (words.empty()) return internal_error("/proc/self/cmdline: cannot be read");
  return words;
}

Result<ordered_json> start_once() {
  OCTET_ASSIGN_OR_RETURN(auto words, own_command_line());
  int ends[2];
  if (::pipe(ends) != 0) return resource_exhausted("cannot make a pipe to another process");
  words.insert(words.end(), {kStartedAt, std::to_string(Clock::now().time_since_epoch().count())});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; error == 0 && (n = ::read(ends[0], buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  ::close(ends[0]);
  if (error != 0) return resource_exhausted("cannot start another process");
  int state = 0;
  ::waitpid(child, &state, 0);
  auto json = ordered_json::parse(text, nullptr, false);
  if (!WIFEXITED(state) || !json.is_object() || (WEXITSTATUS(state) != 0 && !json.contains("error")))
    return internal_error("a start ended " + (WIFSIGNALED(state)
                                                  ? "by signal " + std::to_string(WTERMSIG(state))
                                                  : std::string("without a result")));
  if (json.contains("error"))
    return Status(json.value("code", 0) == 2 ? StatusCode::kInvalidArgument : StatusCode::kInternal,
                  json.value("error", ""));
  return json;
}

// Why no start can be cold; empty: the files are out of memory now.
std::string make_cold(const Args& args) {
  if (!args.model.random_weights.empty()) return "random weights have no files";
  const auto files = checkpoint_files(args.model.model);
  if (!drop_from_page_cache(files).ok()) return "the checkpoint's files cannot be opened";
  const auto share = page_cache_share(files);
  if (!share.ok()) return "the system does not tell what it holds in memory";
  if (*share > kStillCached)
    return fmt::format("the system keeps {:.0f} % of the checkpoint in memory", 100 * *share);
  return "";
}

Result<StartupReport> measure(const Args& args) {
  StartupReport report;
  const auto start = [&](std::vector<Startup>& runs) -> Status {
    OCTET_ASSIGN_OR_RETURN(const auto json, start_once());
    report.model = json.value("model", "");
    report.scheme = json.value("scheme", "");
    report.kv_dtype = json.value("kv_dtype", "");
    report.device = json.value("device", "");
    OCTET_ASSIGN_OR_RETURN(auto startup, startup_from_json(json.at("startup")));
    runs.push_back(std::move(startup));
    return {};
  };
  for (int32_t repeat = 0; repeat < args.repeats && report.no_cold.empty(); ++repeat) {
    report.no_cold = make_cold(args);
    if (report.no_cold.empty()) OCTET_RETURN_IF_ERROR(start(report.cold));
  }
  if (!report.no_cold.empty()) report.cold.clear();
  if (report.cold.empty()) {  // brings the files into memory
    std::vector<Startup> discarded;
    OCTET_RETURN_IF_ERROR(start(discarded));
  }
  for (int32_t repeat = 0; repeat < args.repeats; ++repeat) OCTET_RETURN_IF_ERROR(start(report.warm));
  return report;
}

int run(const Args& args) {
  if (args.started_at != 0) {
    const auto json = start_up(args);
    const int code = json.ok() ? 0
                     : json.status().code() == StatusCode::kInvalidArgument ||
                             json.status().code() == StatusCode::kUnsupported
                         ? 2
                         : 1;
    const ordered_json result =
        json.ok() ? *json : ordered_json{{"error", json.status().message()}, {"code", code}};
    std::printf("%s\n", result.dump().c_str());
    return code;
  }
  if (args.repeats < 1 || args.prompt < 1)
    return fail(invalid_argument("--repeats and --prompt-len must be at least 1"));
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  const auto report = measure(args);
  if (!report.ok()) return fail(report.status());
  const auto json = to_json(*report);
  std::printf("%s\n", args.json ? json.dump(2).c_str() : startup_table(*report).c_str());
  if (!args.output.empty()) {
    if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  }
  return 0;
}

}  // namespace

void add_bench_startup(CLI::App& bench, Action& action) {
  auto args = std::make_shared<Args>();
  auto* command =
      bench.add_subcommand("startup", "From the start of the process to ready, and to the first token");
  add_model_options(*command, args->model);
  command->add_option("--repeats", args->repeats, "starts, cold and warm each; medians are reported")
      ->capture_default_str();
  command->add_option("--prompt-len", args->prompt, "tokens of the first request")->capture_default_str();
  command->add_flag("--json", args->json, "print JSON");
  command->add_option("--output", args->output, "also write the JSON to this file");
  command->add_option(kStartedAt, args->started_at)->group("");  // how this program calls itself
  command->footer(
      "Example:\n  octet bench startup models/smollm2-135m-instruct.gguf --scheme int8-minmax --repeats 5");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
