// `octet bench serve URL [URL_B]`: a load client for any server that speaks the OpenAI API, or two of them by
// turns.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include <fmt/format.h>

#include "base/log.h"
#include "base/progress.h"
#include "bench/load_client.h"
#include "bench/load_report.h"
#include "bench/load_workload.h"
#include "cli/bench_commands.h"
#include "cli/session.h"
#include "formats/file_output.h"

namespace octet {
namespace {

struct Args {
  std::vector<std::string> urls;
  LoadOptions load;
  RandomLoad random;
  std::string dataset, trace, token_ids = "1000:30000", output;
  double speed = 1, rate = 0, burstiness = 1;
  int32_t max_len = 1 << 20, warm_up = 0, rounds = 1;
  std::vector<std::string> goodput;
  uint64_t seed = 1;
  bool json = false, details = false;
};

Status check(const Args& args) {
  const RandomLoad& r = args.random;
  if (r.n_requests < 1 || r.input_len < 1 || r.output_len < 1 || args.rounds < 1) {
    return invalid_argument("--num-prompts, --input-len, --output-len and --rounds must be at least 1");
  }
  if (args.rate < 0 || args.burstiness <= 0 || args.speed <= 0 || r.range_ratio < 0 || r.range_ratio >= 1 ||
      args.warm_up < 0 || args.load.max_concurrency < 0 || args.load.timeout <= 0) {
    return invalid_argument(
        "--rate, --warm-up and --max-concurrency must be at least 0, --burstiness, --speed and --timeout "
        "above, "
        "--range-ratio in [0, 1)");
  }
  if (!args.trace.empty() && args.rate > 0)
    return invalid_argument("--trace brings its own arrivals; leave --rate away (--speed scales them)");
  return {};
}

Status set_token_range(Args& args) {
  int used = 0;
  RandomLoad& r = args.random;
  if (std::sscanf(args.token_ids.c_str(), "%d:%d%n", &r.token_low, &r.token_high, &used) == 2 &&
      used == static_cast<int>(args.token_ids.size()) && r.token_low >= 0 && r.token_high > r.token_low) {
    return {};
  }
  return invalid_argument("--token-ids '" + args.token_ids + "': expected LOW:HIGH, such as 1000:30000");
}

Result<std::vector<LoadRequest>> make_requests(const Args& args, uint64_t seed) {
  std::vector<LoadRequest> requests;
  if (!args.trace.empty())
    return trace_load(args.trace, args.random.n_requests, args.speed, args.max_len, args.random);
  if (!args.dataset.empty()) {
    OCTET_ASSIGN_OR_RETURN(requests,
                           chat_load(args.dataset, args.random.n_requests, args.random.output_len, seed));
  } else {
    requests = random_load(args.random, seed);
  }
  set_arrivals(requests, args.rate, args.burstiness, seed);
  return requests;
}

struct Target {
  Url url;
  LoadOptions load;
  std::vector<LoadReport> reports;
  nlohmann::ordered_json details;
};

Result<Target> reach(const Args& args, const std::string& text) {
  Target target{{}, args.load, {}, {}};
  OCTET_ASSIGN_OR_RETURN(target.url, parse_url(text));
  if (target.load.model.empty()) {
    OCTET_ASSIGN_OR_RETURN(target.load.model, first_model(target.url, target.load.api_key));
  }
  return target;
}

Status run_round(const Args& args, Target& target, int32_t round, const Goodput& bounds) {
  OCTET_ASSIGN_OR_RETURN(const auto requests, make_requests(args, args.seed + static_cast<uint64_t>(round)));
  const int64_t n_tokens = std::accumulate(requests.begin(), requests.end(), int64_t{0},
                                           [](int64_t n, const LoadRequest& r) { return n + r.output_len; });
  Progress progress(target.url.text(), "tokens", n_tokens);
  OCTET_ASSIGN_OR_RETURN(const auto results, run_load(target.url, target.load, requests,
                                                      [&](int64_t n) { progress.advance(n); }));
  progress.finish();
  const LoadReport report = summarize_load(results, requests, bounds);
  if (report.completed == 0)
    return unavailable(target.url.text() + ": no request went through; the first: " + report.first_error);
  target.reports.push_back(report);
  target.details = details_json(results);
  if (report.failed > 0) {
    log_warning(fmt::format("{}: {} of {} requests failed; the first: {}", target.url.text(), report.failed,
                            report.failed + report.completed, report.first_error));
  }
  return {};
}

Status warm_up(const Args& args, const Target& target) {
  if (args.warm_up == 0) return {};
  Args few = args;
  few.random.n_requests = args.warm_up;
  few.trace.clear();
  few.rate = 0;
  OCTET_ASSIGN_OR_RETURN(const auto requests, make_requests(few, args.seed + 1'000'000));
  return run_load(target.url, target.load, requests, [](int64_t) {}).status();
}

nlohmann::ordered_json describe(const Args& args, const Target& target, size_t round) {
  nlohmann::ordered_json json = {
      {"endpoint", target.url.text()},
      {"model_id", target.load.model},
      {"num_prompts", args.random.n_requests},
      {"request_rate", args.rate > 0 ? nlohmann::ordered_json(args.rate) : nlohmann::ordered_json("inf")},
      {"burstiness", args.burstiness},
      {"max_concurrency", args.load.max_concurrency > 0 ? nlohmann::ordered_json(args.load.max_concurrency)
                                                        : nlohmann::ordered_json()},
      {"dataset", !args.trace.empty()     ? args.trace
                  : !args.dataset.empty() ? args.dataset
                                          : "random"},
      {"random_input_len", args.random.input_len},
      {"random_output_len", args.random.output_len},
      {"seed", args.seed}};
  json.update(to_json(target.reports[round]));
  return json;
}

nlohmann::ordered_json compare(const Target& a, const Target& b, std::string& table) {
  nlohmann::ordered_json json;
  const std::pair<const char*, double (*)(const LoadReport&)> metrics[] = {
      {"output_throughput", [](const LoadReport& r) { return r.output_throughput; }},
      {"median_ttft_ms", [](const LoadReport& r) { return r.ttft.median; }},
      {"p99_ttft_ms", [](const LoadReport& r) { return r.ttft.p99; }},
      {"median_tpot_ms", [](const LoadReport& r) { return r.tpot.median; }},
      {"median_e2el_ms", [](const LoadReport& r) { return r.e2el.median; }}};
  table += fmt::format("\n{:<20} {:>12} {:>12}   A / B (95 % interval)", "medians", "A", "B");
  for (const auto& [name, value] : metrics) {
    std::vector<double> of_a, of_b;
    for (const auto& r : a.reports) of_a.push_back(value(r));
    for (const auto& r : b.reports) of_b.push_back(value(r));
    const Ratio ratio = ratio_of(of_a, of_b);
    json[name] = {{"ratio", ratio.median}, {"low", ratio.low}, {"high", ratio.high}};
    const auto middle = [](std::vector<double> v) {
      std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
      return v[v.size() / 2];
    };
    table += fmt::format("\n{:<20} {:>12.2f} {:>12.2f}   {:.3f} ({:.3f} to {:.3f})", name, middle(of_a),
                         middle(of_b), ratio.median, ratio.low, ratio.high);
  }
  return json;
}

struct Measured {
  std::vector<Target> targets;
  Status ended;  // why not all rounds are there

  bool has_any() const {
    return std::ranges::any_of(targets, [](const Target& t) { return !t.reports.empty(); });
  }
};

Result<Measured> measure(const Args& args, const Goodput& bounds) {
  Measured measured;
  std::vector<Target>& targets = measured.targets;
  for (const auto& url : args.urls) {
    OCTET_ASSIGN_OR_RETURN(Target target, reach(args, url));
    OCTET_RETURN_IF_ERROR(warm_up(args, target));
    targets.push_back(std::move(target));
  }
  for (int32_t round = 0; round < args.rounds; ++round) {
    // By turns, and first in every other round: what drifts hits both.
    for (size_t i = 0; i < targets.size(); ++i) {
      Target& target = targets[round % 2 == 0 ? i : targets.size() - 1 - i];
      measured.ended = run_round(args, target, round, bounds);
      if (measured.ended.ok()) continue;
      if (!measured.has_any()) return measured.ended;
      return measured;
    }
  }
  return measured;
}

int run(Args args) {
  if (auto status = check(args); !status.ok()) return fail(status);
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  if (auto status = set_token_range(args); !status.ok()) return fail(status);
  const auto bounds = parse_goodput(args.goodput);
  if (!bounds.ok()) return fail(bounds.status());
  auto measured = measure(args, *bounds);
  if (!measured.ok()) return fail(measured.status());
  auto& [targets, ended] = *measured;

  nlohmann::ordered_json json;
  std::string table;
  for (const Target& target : targets) {
    if (target.reports.empty()) continue;
    nlohmann::ordered_json rounds = nlohmann::ordered_json::array();
    for (size_t round = 0; round < target.reports.size(); ++round)
      rounds.push_back(describe(args, target, round));
    if (args.details) rounds.back().update(target.details);
    table += fmt::format("{}{} ({})\n{}", table.empty() ? "" : "\n\n", target.url.text(), target.load.model,
                         to_table(target.reports.back()));
    if (targets.size() == 1 && rounds.size() == 1) {
      json = rounds[0];
    } else {
      json["servers"].push_back({{"endpoint", target.url.text()}, {"rounds", rounds}});
    }
  }
  if (targets.size() == 2) {
    const size_t rounds = std::min(targets[0].reports.size(), targets[1].reports.size());
    for (Target& target : targets) target.reports.resize(rounds);  // those that both have
    if (rounds > 0) {
      table += "\n";
      json["ratios"] = compare(targets[0], targets[1], table);
    }
  }
  if (!ended.ok()) json["error"] = ended.message();
  std::printf("%s\n", args.json ? json.dump(2).c_str() : table.c_str());
  if (!args.output.empty()) {
    if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  }
  return ended.ok() ? 0 : fail(ended);
}

}  // namespace

void add_bench_serve(CLI::App& bench, Action& action) {
  auto args = std::make_shared<Args>();
  auto* command =
      bench.add_subcommand("serve", "Load on any OpenAI-compatible server, or two of them by turns");
  command->add_option("URL", args->urls, "http://HOST:PORT; a second one is measured by turns with the first")
      ->required()
      ->expected(1, 2);
  LoadOptions& load = args->load;
  command->add_option("--model", load.model,
                      "what requests call the model (default: the first of /v1/models)");
  command->add_option("--api-key", load.api_key, "sent as a bearer token");
  command->add_option("--num-prompts", args->random.n_requests, "requests of a round")->capture_default_str();
  command->add_option("--input-len", args->random.input_len, "random prompts: tokens")->capture_default_str();
  command->add_option("--output-len", args->random.output_len, "tokens of an answer")->capture_default_str();
  command
      ->add_option("--range-ratio", args->random.range_ratio,
                   "random lengths: uniform within this share of them")
      ->capture_default_str();
  command->add_option("--token-ids", args->token_ids, "random prompts: ids from LOW to HIGH - 1")
      ->capture_default_str();
  auto* dataset = command->add_option("--dataset", args->dataset,
                                      "conversations: JSON or JSON Lines, first turns are asked");
  auto* trace = command->add_option("--trace", args->trace,
                                    "recorded arrivals and lengths: Azure CSV or Mooncake JSON Lines");
  dataset->excludes(trace);
  command->add_option("--speed", args->speed, "with --trace: how many times as fast")->capture_default_str();
  command->add_option("--max-len", args->max_len, "with --trace: longer requests are left out, tokens")
      ->capture_default_str();
  command->add_option("--rate", args->rate, "requests a second (default: all at once)");
  command
      ->add_option("--burstiness", args->burstiness, "with --rate: 1 Poisson, below 1 bursts, above 1 evener")
      ->capture_default_str();
  command->add_option("--max-concurrency", load.max_concurrency,
                      "requests open at a time (default: no limit)");
  command->add_flag("!--respect-eos", load.ignore_eos, "let the model end its answers itself");
  command->add_option("--temperature", load.temperature)->capture_default_str();
  command->add_option("--timeout", load.timeout, "seconds a request may take")->capture_default_str();
  command->add_option("--warm-up", args->warm_up, "requests before the measurement")->capture_default_str();
  command->add_option("--rounds", args->rounds, "of two servers: the ratios get an interval")
      ->capture_default_str();
  command->add_option("--goodput", args->goodput, "bounds of a good request, ms: ttft:500 tpot:50 e2el:10000")
      ->expected(1, 3);
  command->add_option("--seed", args->seed)->capture_default_str();
  command->add_flag("--json", args->json, "print JSON, with the names of `vllm bench serve`");
  command->add_flag("--details", args->details,
                    "with --json or --output: times of every request of the last round");
  command->add_option("--output", args->output, "also write the JSON to this file");
  command->footer(
      "Example:\n  octet bench serve http://127.0.0.1:8000 --input-len 128 --output-len 64 --num-prompts 64 "
      "--rate 4\n"
      "  octet bench serve http://127.0.0.1:8000 http://127.0.0.1:8001 --max-concurrency 32 --rounds 5");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
