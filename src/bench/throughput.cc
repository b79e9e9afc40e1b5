#include <algorithm>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "base/progress.h"
#include "bench/offline.h"

namespace octet {
namespace {

struct RequestTimes {
  Clock::time_point arrival, first, last;
  int64_t tokens = 0;
};

// What the engine's thread tells the waiting main thread.
struct Board {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<RequestTimes> times;
  int64_t tokens = 0;
  int32_t finished = 0;
  std::string error;

  void on_event(size_t index, const OutputEvent& event) {
    const auto now = Clock::now();
    std::lock_guard lock(mutex);
    RequestTimes& t = times[index];
    const auto n = static_cast<int64_t>(event.tokens.size());
    if (n > 0) {
      if (t.tokens == 0) t.first = now;
      t.last = now;
      t.tokens += n;
      tokens += n;
    }
    if (event.finish == FinishReason::kNone) return;
    if (event.finish != FinishReason::kLength && error.empty()) {
      error = "a request ended early: " + (event.error.empty() ? "cancelled" : event.error);
    }
    ++finished;
    changed.notify_all();
  }
};

Request make_request(const ThroughputOptions& options, const ModelConfig& config, std::mt19937_64& random) {
  Request request;
  std::uniform_int_distribution<int32_t> token(0, config.vocab_size - 1);
  request.prompt.resize(static_cast<size_t>(options.input_len));
  for (auto& id : request.prompt) id = token(random);
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = options.output_len;
  return request;
}

double milliseconds(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

ThroughputResult summarize(const Board& board, const ThroughputOptions& options, double seconds) {
  ThroughputResult result;
  std::vector<double> ttft, tpot;
  for (const auto& t : board.times) {
    ttft.push_back(milliseconds(t.first - t.arrival));
    if (t.tokens > 1) tpot.push_back(milliseconds(t.last - t.first) / static_cast<double>(t.tokens - 1));
  }
  result.seconds = seconds;
  result.input_tokens = int64_t{options.requests} * options.input_len;
  result.output_tokens = board.tokens;
  result.output_tok_s = static_cast<double>(result.output_tokens) / seconds;
  result.total_tok_s = static_cast<double>(result.output_tokens + result.input_tokens) / seconds;
  result.request_s = options.requests / seconds;
  result.ttft_ms = percentiles(std::move(ttft));
  result.tpot_ms = percentiles(std::move(tpot));
  return result;
}

nlohmann::ordered_json to_json(const Percentiles& p) {
  return {{"mean", p.mean}, {"p50", p.p50}, {"p90", p.p90}, {"p99", p.p99}};
}

}  // namespace

Percentiles percentiles(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[std::min(values.size() - 1,
                           static_cast<size_t>(share * static_cast<double>(values.size())))];
  };
  double sum = 0;
  for (const double v : values) sum += v;
  return {sum / static_cast<double>(values.size()), at(0.5), at(0.9), at(0.99)};
}

Result<std::vector<double>> read_arrivals(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  std::vector<double> seconds;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const char* end = line.data() + line.size();
    double value = -1;
    const auto [rest, error] = std::from_chars(line.data(), end, value);
    const bool right = error == std::errc() && rest == end && std::isfinite(value);
    if (!right || value < (seconds.empty() ? 0 : seconds.back())) {
      return corrupt(path + ", line " + std::to_string(seconds.size() + 1) +
                     ": expected seconds, ascending, found: " + line.substr(0, 60));
    }
    seconds.push_back(value);
  }
  if (seconds.empty()) return corrupt(path + ": no arrival in it; expected seconds, one a line");
  return seconds;
}

std::vector<double> arrival_seconds(const ThroughputOptions& options) {
  if (!options.arrivals.empty()) return options.arrivals;
  std::vector<double> seconds(static_cast<size_t>(options.requests), 0.0);
  if (options.rate <= 0) return seconds;
  std::mt19937_64 random(options.seed + 1);  // not that of the prompts
  std::exponential_distribution<double> gap(options.rate);
  for (size_t i = 1; i < seconds.size(); ++i) seconds[i] = seconds[i - 1] + gap(random);
  return seconds;
}

Result<ThroughputResult> bench_throughput(Engine& engine, const ModelConfig& config,
                                          const ThroughputOptions& options) {
  std::mt19937_64 random(options.seed);
  const auto arrivals = arrival_seconds(options);
  Board board;
  board.times.resize(static_cast<size_t>(options.requests));
  Progress progress("throughput", "tokens", int64_t{options.requests} * options.output_len);
  std::vector<Request> requests;
  for (size_t i = 0; i < board.times.size(); ++i) {
    requests.push_back(make_request(options, config, random));
    requests.back().on_event = [&board, i](const OutputEvent& event) { board.on_event(i, event); };
  }

  const auto start = Clock::now();
  int64_t shown = 0;
  const auto show = [&](int64_t tokens) {
    progress.advance(tokens - shown);
    shown = tokens;
  };
  const auto start_of = [&](size_t i) {
    return start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(arrivals[i]));
  };
  for (size_t i = 0; i < board.times.size();) {
    const auto arrival = start_of(i);
    if (arrival > start) {
      std::this_thread::sleep_until(arrival);
      std::unique_lock lock(board.mutex);
      show(board.tokens);
    }
    std::vector<Request> together;
    for (; i < arrivals.size() && start_of(i) == arrival; ++i) {
      board.times[i].arrival = arrival;
      together.push_back(std::move(requests[i]));
    }
    if (auto ids = engine.submit(std::move(together)); !ids.ok()) {
      engine.drain(std::chrono::milliseconds(0));
      return ids.status();
    }
  }
  std::unique_lock lock(board.mutex);
  while (board.finished < options.requests) {
    board.changed.wait_for(lock, std::chrono::milliseconds(200));
    show(board.tokens);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (!board.error.empty()) return internal_error(board.error);
  return summarize(board, options, seconds);
}

nlohmann::ordered_json to_json(const ThroughputResult& r) {
  return {{"output_tok_s", r.output_tok_s}, {"total_tok_s", r.total_tok_s},    {"request_s", r.request_s},
          {"ttft_ms", to_json(r.ttft_ms)},  {"tpot_ms", to_json(r.tpot_ms)},   {"seconds", r.seconds},
          {"input_tokens", r.input_tokens}, {"output_tokens", r.output_tokens}};
}

}  // namespace octet
