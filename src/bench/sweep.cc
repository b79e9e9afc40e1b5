#include "bench/sweep.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <random>

#include <fmt/format.h>

#include "base/log.h"
#include "base/median.h"

namespace octet {
namespace {

// Long enough for every kernel, graph and page to have been touched once.
constexpr int32_t kWarmUpOutput = 16, kWarmUpTokens = 1 << 16;

Result<ThroughputResult> run(Model& model, const ThroughputOptions& run, int32_t max_batch) {
  EngineOptions options;
  options.max_batch = max_batch;
  options.max_step_tokens = model.max_step_tokens();
  options.max_context = run.input_len + run.output_len;
  options.max_waiting = run.requests;
  options.prefix_cache = false;  // prompts are random: it could only cost
  OCTET_ASSIGN_OR_RETURN(const auto engine, Engine::create(model, options));
  return bench_throughput(*engine, model.config(), run);
}

}  // namespace

Result<Workload> parse_workload(const std::string& text) {
  Workload w;
  const char *at = text.data(), *end = at + text.size();
  const auto number = [&](int32_t& value) {
    const auto [ptr, error] = std::from_chars(at, end, value);
    at = ptr;
    return error == std::errc() && value > 0;
  };
  const auto follows = [&](char c) { return at != end && *at == c && ++at != nullptr; };
  const bool lengths = number(w.input_len) && follows('/') && number(w.output_len);
  if (lengths && (at == end || (follows('x') && number(w.requests_per_sequence) && at == end))) return w;
  return invalid_argument(
      "workload '" + text +
      "': expected INPUT/OUTPUT in tokens, such as 2048/128, or 2048/128x4 for 4 requests a sequence");
}

std::string SweepCell::key() const {
  const int32_t n = workload.requests_per_sequence;
  return fmt::format("{}/{}{} batch {} rate {} repeat {}", workload.input_len, workload.output_len,
                     n > 0 ? "x" + std::to_string(n) : "", max_batch, rate, repeat);
}

std::vector<SweepCell> sweep_cells(const SweepOptions& options, int32_t repeat) {
  std::vector<SweepCell> cells;
  for (const Workload& workload : options.workloads) {
    for (const int32_t max_batch : options.max_batches) {
      for (const double rate : options.rates) cells.push_back({workload, max_batch, rate, repeat});
    }
  }
  std::mt19937_64 random(options.seed + static_cast<uint64_t>(repeat));
  std::shuffle(cells.begin(), cells.end(), random);
  return cells;
}

int32_t longest_context(const SweepOptions& options) {
  int32_t longest = 0;
  for (const Workload& w : options.workloads) longest = std::max(longest, w.input_len + w.output_len);
  return longest;
}

Status bench_sweep(Model& model, const SweepOptions& options, const std::vector<SweepCell>& cells,
                   const std::set<std::string>& done,
                   const std::function<Status(const SweepCell&, nlohmann::ordered_json)>& on_row) {
  const auto is_done = [&](const SweepCell& cell) { return done.contains(cell.key()); };
  if (std::ranges::all_of(cells, is_done)) return {};
  for (const Workload& workload : options.workloads) {
    const int32_t largest = *std::ranges::max_element(options.max_batches);
    const int32_t n = std::clamp(kWarmUpTokens / workload.input_len, 1, largest);
    const ThroughputOptions warm_up{workload.input_len, std::min(kWarmUpOutput, workload.output_len), n};
    OCTET_RETURN_IF_ERROR(run(model, warm_up, n).status());
  }
  for (const SweepCell& cell : cells) {
    if (is_done(cell)) continue;
    log_info("sweep: " + cell.key());
    ThroughputOptions t{
        cell.workload.input_len, cell.workload.output_len,
        cell.max_batch * (cell.workload.requests_per_sequence > 0 ? cell.workload.requests_per_sequence
                                                                  : options.requests_per_sequence),
        cell.rate};
    t.seed = options.seed + static_cast<uint64_t>(cell.repeat);
    OCTET_ASSIGN_OR_RETURN(const ThroughputResult result, run(model, t, cell.max_batch));
    nlohmann::ordered_json row = {{"input_len", t.input_len},    {"output_len", t.output_len},
                                  {"max_batch", cell.max_batch}, {"rate", cell.rate},
                                  {"repeat", cell.repeat},       {"requests", t.requests}};
    row.update(to_json(result));
    OCTET_RETURN_IF_ERROR(on_row(cell, std::move(row)));
  }
  return {};
}

std::string sweep_table(const std::vector<nlohmann::ordered_json>& rows) {
  std::map<std::string, std::vector<const nlohmann::ordered_json*>> groups;
  std::vector<std::string> order;
  for (const auto& row : rows) {
    const std::string key = fmt::format(
        "{:>5}/{:<5} {:>9} {:>6} {:<22} {:<8}", row.at("input_len").get<int>(),
        row.at("output_len").get<int>(), row.at("max_batch").get<int>(), row.at("rate").get<double>(),
        row.at("scheme").get<std::string>(), row.at("kv_dtype").get<std::string>());
    if (!groups.contains(key)) order.push_back(key);
    groups[key].push_back(&row);
  }
  std::sort(order.begin(), order.end());
  std::string table =
      fmt::format("{:>11} {:>9} {:>6} {:<22} {:<8} {:>12} {:>7} {:>11} {:>10}", "workload", "max batch",
                  "rate", "scheme", "KV", "output tok/s", "spread", "TTFT p50 ms", "TPOT p50");
  for (const auto& key : order) {
    std::vector<double> speed, ttft, tpot;
    for (const auto* row : groups[key]) {
      speed.push_back(row->at("output_tok_s"));
      ttft.push_back(row->at("ttft_ms").at("p50"));
      tpot.push_back(row->at("tpot_ms").at("p50"));
    }
    const auto [low, high] = std::ranges::minmax(speed);
    table +=
        fmt::format("\n{} {:>12.1f} {:>7} {:>11.1f} {:>10.2f}", key, median(speed),
                    speed.size() > 1 ? fmt::format("{:.2f}x", high / low) : "", median(ttft), median(tpot));
  }
  return table;
}

}  // namespace octet
