#include "bench/load_report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <random>

#include <fmt/format.h>

namespace octet {
namespace {

constexpr int kBootstraps = 2000;

// Between the two nearest values, as numpy's percentile is.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

LoadReport::Times times(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  for (double& s : seconds) s *= 1000;
  std::sort(seconds.begin(), seconds.end());
  LoadReport::Times t;
  for (const double v : seconds) t.mean += v / static_cast<double>(seconds.size());
  for (const double v : seconds) t.std += (v - t.mean) * (v - t.mean) / static_cast<double>(seconds.size());
  t.std = std::sqrt(t.std);
  t.median = percentile(seconds, 0.5);
  t.p90 = percentile(seconds, 0.9);
  t.p99 = percentile(seconds, 0.99);
  return t;
}

double tpot_of(const LoadResult& r) {
  return r.output_tokens > 1 ? (r.last_token - r.first_token) / static_cast<double>(r.output_tokens - 1) : 0;
}

bool keeps(const LoadResult& r, const Goodput& bounds) {
  return std::ranges::all_of(bounds, [&](const auto& bound) {
    const double s = bound.first == "ttft"   ? r.first_token
                     : bound.first == "tpot" ? tpot_of(r)
                                             : r.last_token;
    return 1000 * s <= bound.second;
  });
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return percentile(values, 0.5);
}

}  // namespace

Result<Goodput> parse_goodput(const std::vector<std::string>& texts) {
  Goodput bounds;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    double ms = 0;
    const char* begin = colon == std::string::npos ? nullptr : text.data() + colon + 1;
    const char* end = text.data() + text.size();
    const bool number = begin != nullptr && std::from_chars(begin, end, ms).ptr == end && begin != end;
    if (!number || ms <= 0 || (name != "ttft" && name != "tpot" && name != "e2el")) {
      return invalid_argument("--goodput '" + text + "': expected ttft:MS, tpot:MS or e2el:MS");
    }
    bounds[name] = ms;
  }
  return bounds;
}

LoadReport summarize_load(const std::vector<LoadResult>& results, const std::vector<LoadRequest>& requests,
                          const Goodput& bounds) {
  LoadReport report;
  std::vector<double> ttft, tpot, itl, e2el;
  double begin = 0, end = 0;
  int64_t n_good = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const LoadResult& r = results[i];
    begin = i == 0 ? r.sent : std::min(begin, r.sent);
    end = std::max(end, r.sent + r.end);
    if (!r.ok()) {
      ++report.failed;
      if (report.first_error.empty()) report.first_error = r.error;
      continue;
    }
    ++report.completed;
    n_good += keeps(r, bounds) ? 1 : 0;
    const auto known = static_cast<int64_t>(requests[i].prompt_ids.size());
    report.total_input_tokens += r.input_tokens > 0 ? r.input_tokens : known;
    report.total_output_tokens += r.output_tokens;
    ttft.push_back(r.first_token);
    if (r.output_tokens > 1) tpot.push_back(tpot_of(r));
    itl.insert(itl.end(), r.gaps.begin(), r.gaps.end());
    e2el.push_back(r.last_token);
  }
  report.duration = end - begin;
  const double per_second = report.duration > 0 ? 1 / report.duration : 0;
  report.request_throughput = static_cast<double>(report.completed) * per_second;
  report.output_throughput = static_cast<double>(report.total_output_tokens) * per_second;
  report.total_token_throughput =
      static_cast<double>(report.total_input_tokens + report.total_output_tokens) * per_second;
  report.request_goodput = bounds.empty() ? 0 : static_cast<double>(n_good) * per_second;
  report.ttft = times(std::move(ttft));
  report.tpot = times(std::move(tpot));
  report.itl = times(std::move(itl));
  report.e2el = times(std::move(e2el));
  return report;
}

nlohmann::ordered_json to_json(const LoadReport& r) {
  nlohmann::ordered_json json = {{"duration", r.duration},
                                 {"completed", r.completed},
                                 {"failed", r.failed},
                                 {"total_input_tokens", r.total_input_tokens},
                                 {"total_output_tokens", r.total_output_tokens},
                                 {"request_throughput", r.request_throughput},
                                 {"request_goodput", r.request_goodput},
                                 {"output_throughput", r.output_throughput},
                                 {"total_token_throughput", r.total_token_throughput}};
  for (const auto& [name, t] : {std::pair("ttft", &r.ttft), std::pair("tpot", &r.tpot),
                                std::pair("itl", &r.itl), std::pair("e2el", &r.e2el)}) {
    json[fmt::format("mean_{}_ms", name)] = t->mean;
    json[fmt::format("median_{}_ms", name)] = t->median;
    json[fmt::format("std_{}_ms", name)] = t->std;
    json[fmt::format("p90_{}_ms", name)] = t->p90;
    json[fmt::format("p99_{}_ms", name)] = t->p99;
  }
  return json;
}

nlohmann::ordered_json details_json(const std::vector<LoadResult>& results) {
  nlohmann::ordered_json json;
  for (const char* list : {"input_lens", "output_lens", "ttfts", "itls", "errors"})
    json[list] = nlohmann::ordered_json::array();
  for (const LoadResult& r : results) {
    json["input_lens"].push_back(r.input_tokens);
    json["output_lens"].push_back(r.output_tokens);
    json["ttfts"].push_back(r.first_token);
    json["itls"].push_back(r.gaps);
    json["errors"].push_back(r.error);
  }
  return json;
}

std::string to_table(const LoadReport& r) {
  std::string table = fmt::format(
      "requests               {:>12}   failed {}\nseconds                {:>12.2f}\nrequests/s             "
      "{:>12.3f}\n"
      "output tokens/s        {:>12.1f}\ntotal tokens/s         {:>12.1f}",
      r.completed, r.failed, r.duration, r.request_throughput, r.output_throughput, r.total_token_throughput);
  if (r.request_goodput > 0) table += fmt::format("\ngoodput, requests/s    {:>12.3f}", r.request_goodput);
  for (const auto& [name, t] : {std::pair("TTFT ms", &r.ttft), std::pair("TPOT ms", &r.tpot),
                                std::pair("ITL ms", &r.itl), std::pair("E2E ms", &r.e2el)}) {
    table += fmt::format("\n{:<15} median {:>12.2f}   mean {:.2f}  p90 {:.2f}  p99 {:.2f}", name, t->median,
                         t->mean, t->p90, t->p99);
  }
  return table;
}

Ratio ratio_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (b[i] > 0) ratios.push_back(a[i] / b[i]);
  }
  if (ratios.empty()) return {};
  const auto [low, high] = std::ranges::minmax(ratios);
  Ratio result{median_of(ratios), low, high};
  if (ratios.size() < 3) return result;
  std::mt19937_64 random(1);
  std::uniform_int_distribution<size_t> pick(0, ratios.size() - 1);
  std::vector<double> medians;
  for (int i = 0; i < kBootstraps; ++i) {
    std::vector<double> drawn(ratios.size());
    for (double& r : drawn) r = ratios[pick(random)];
    medians.push_back(median_of(std::move(drawn)));
  }
  std::sort(medians.begin(), medians.end());
  result.low = percentile(medians, 0.025);
  result.high = percentile(medians, 0.975);
  return result;
}

}  // namespace octet
