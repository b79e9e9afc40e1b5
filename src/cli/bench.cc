#include <algorithm>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "bench/offline.h"
#include "cli/bench_commands.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/version.h"
#include "formats/file_output.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  ThroughputOptions throughput;
  LatencyOptions latency;
  std::string arrivals;
  bool json = false;
  std::string output;
};

nlohmann::ordered_json describe(const char* kind, const Session& session, const ModelArgs& args) {
  return {{"kind", kind},
          {"version", kVersion},
          {"model", session.name()},
          {"scheme", session.model->scheme_name()},
          {"quantized_head", args.options.quantize_head},
          {"kv_dtype", session.model->kv_name()},
          {"device", session.model->ops().info().device},
          {"max_batch", session.model->max_batch()}};
}

int print(const nlohmann::ordered_json& json, const std::string& table, const Args& args) {
  std::printf("%s\n", args.json ? json.dump(2).c_str() : table.c_str());
  if (args.output.empty()) return 0;
  if (auto status = write_text_file(args.output, json.dump(2) + "\n"); !status.ok()) return fail(status);
  return 0;
}

std::string throughput_table(const ThroughputResult& r) {
  char text[512];
  std::snprintf(text, sizeof(text),
                "%-22s %12.1f\n%-22s %12.1f\n%-22s %12.3f\n%-22s %12.3f\n"
                "%-22s %12.2f   p50 %.2f  p90 %.2f  p99 %.2f\n%-22s %12.2f   p50 %.2f  p90 %.2f  p99 %.2f",
                "output tokens/s", r.output_tok_s, "total tokens/s", r.total_tok_s, "requests/s", r.request_s,
                "seconds", r.seconds, "TTFT ms (mean)", r.ttft_ms.mean, r.ttft_ms.p50, r.ttft_ms.p90,
                r.ttft_ms.p99, "TPOT ms (mean)", r.tpot_ms.mean, r.tpot_ms.p50, r.tpot_ms.p90, r.tpot_ms.p99);
  return text;
}

int run_throughput(Args& args) {
  auto& t = args.throughput;
  if (!args.arrivals.empty()) {
    auto arrivals = read_arrivals(args.arrivals);
    if (!arrivals.ok()) return fail(arrivals.status());
    t.arrivals = std::move(*arrivals);
    t.requests = static_cast<int32_t>(t.arrivals.size());
    if (const double last = t.arrivals.back(); last > 0) t.rate = (t.requests - 1) / last;
  }
  if (t.input_len < 1 || t.output_len < 1 || t.requests < 1) {
    return fail(invalid_argument("--input-len, --output-len and --requests must be at least 1"));
  }
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  if (args.model.options.max_context == 0) args.model.options.max_context = t.input_len + t.output_len;
  args.model.no_prefix_cache = true;  // prompts are random: the cache could only cost
  args.model.max_waiting = t.requests;
  auto session = open_session(args.model, false);
  if (!session.ok()) return fail(session.status());
  if (auto status = start_engine(*session, args.model); !status.ok()) return fail(status);
  const auto result = bench_throughput(*session->engine, session->model->config(), t);
  if (!result.ok()) return fail(result.status());
  auto json = describe("throughput", *session, args.model);
  json.update(
      {{"input_len", t.input_len}, {"output_len", t.output_len}, {"requests", t.requests}, {"rate", t.rate}});
  if (!args.arrivals.empty()) json["arrivals"] = args.arrivals;
  json.update(to_json(*result));
  return print(json, throughput_table(*result), args);
}

int run_latency(Args& args) {
  const auto& l = args.latency;
  ModelOptions& options = args.model.options;
  if (l.prefill < 1 || l.context < 1 || l.decode_steps < 1 || l.repeats < 1 || l.decode_batches.empty() ||
      *std::min_element(l.decode_batches.begin(), l.decode_batches.end()) < 1) {
    return fail(
        invalid_argument("--prefill, --context, --steps, --repeats and --decode-batch must be at least 1"));
  }
  if (auto status = check_outputs({args.output}); !status.ok()) return fail(status);
  options.max_batch =
      std::max(options.max_batch, *std::max_element(l.decode_batches.begin(), l.decode_batches.end()));
  options.max_step_tokens = std::max({options.max_step_tokens, options.max_batch, l.prefill, l.context});
  if (options.max_context == 0) options.max_context = std::max(l.prefill, l.context + l.decode_steps);
  auto session = open_session(args.model, false);
  if (!session.ok()) return fail(session.status());
  const auto result = bench_latency(*session->model, l);
  if (!result.ok()) return fail(result.status());
  auto json = describe("latency", *session, args.model);
  json.update({{"prefill", l.prefill}, {"context", l.context}});
  json.update(to_json(*result));
  char line[128];
  std::snprintf(line, sizeof(line), "prefill of %d: %.1f tokens/s (%.2f ms)", l.prefill,
                result->prefill_tok_s, result->prefill_ms);
  std::string table = line;
  for (const auto& d : result->decode) {
    std::snprintf(line, sizeof(line), "\ndecode, %3d sequences: %.1f tokens/s (%.3f ms a step)", d.batch,
                  d.tok_s, d.step_ms);
    table += line;
  }
  return print(json, table, args);
}

void add_output_options(CLI::App& command, Args& args) {
  command.add_flag("--json", args.json, "print JSON");
  command.add_option("--output", args.output, "also write the JSON to this file");
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);

  auto args = std::make_shared<Args>();
  auto* throughput = bench->add_subcommand("throughput", "Requests of exact lengths through the engine");
  add_model_options(*throughput, args->model);
  throughput->add_option("--input-len", args->throughput.input_len, "tokens of a prompt")
      ->capture_default_str();
  throughput->add_option("--output-len", args->throughput.output_len, "tokens of an answer")
      ->capture_default_str();
  auto* requests = throughput->add_option("--requests", args->throughput.requests, "how many of them")
                       ->capture_default_str();
  auto* rate = throughput->add_option("--rate", args->throughput.rate,
                                      "requests a second, Poisson (default: all at once)");
  throughput->add_option("--arrivals", args->arrivals, "file of the seconds when requests come, one a line")
      ->excludes(requests)
      ->excludes(rate);
  add_output_options(*throughput, *args);
  throughput->footer(
      "Example:\n  octet bench throughput models/smollm2-135m-instruct.gguf --scheme int8-minmax --input-len "
      "128 "
      "--output-len 128 --requests 16 --max-batch 16");
  throughput->callback([args, &action] { action = [args] { return run_throughput(*args); }; });

  auto largs = std::make_shared<Args>();
  auto* latency =
      bench->add_subcommand("latency", "The model's own steps: one prefill, decode steps of fixed batches");
  add_model_options(*latency, largs->model);
  latency->add_option("--prefill", largs->latency.prefill, "tokens of the measured prompt")
      ->capture_default_str();
  latency
      ->add_option("--decode-batch", largs->latency.decode_batches,
                   "sequences in a decode step, comma separated")
      ->delimiter(',')
      ->capture_default_str();
  latency->add_option("--context", largs->latency.context, "tokens before decoding")->capture_default_str();
  latency->add_option("--steps", largs->latency.decode_steps, "decode steps in a repeat")
      ->capture_default_str();
  latency->add_option("--repeats", largs->latency.repeats, "the median of these is reported")
      ->capture_default_str();
  add_output_options(*latency, *largs);
  latency->footer(
      "Example:\n  octet bench latency models/smollm2-135m-instruct.gguf --scheme int8-minmax --threads 2");
  add_bench_sweep(*bench, action);
  add_bench_kernels(*bench, action);
  add_bench_startup(*bench, action);
  add_bench_serve(*bench, action);
  latency->callback([largs, &action] { action = [largs] { return run_latency(*largs); }; });
}

}  // namespace octet
