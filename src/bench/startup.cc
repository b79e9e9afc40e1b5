#include "bench/startup.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bench/offline.h"

namespace octet {

using nlohmann::ordered_json;

std::vector<std::string> checkpoint_files(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> files;
  if (fs::is_regular_file(path, error)) return {path};
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.is_regular_file(error)) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

Startup median_startup(const std::vector<Startup>& runs) {
  const auto median = [&](const auto& value) {
    std::vector<double> values;
    for (const Startup& run : runs) values.push_back(value(run));
    return percentiles(values).p50;
  };
  Startup middle;
  for (size_t i = 0; !runs.empty() && i < runs.front().phases.size(); ++i)
    middle.phases.push_back(
        {runs.front().phases[i].name, median([&](const Startup& s) { return s.phases[i].ms; })});
  middle.ready_ms = median([](const Startup& s) { return s.ready_ms; });
  middle.first_token_ms = median([](const Startup& s) { return s.first_token_ms; });
  middle.next_first_token_ms = median([](const Startup& s) { return s.next_first_token_ms; });
  return middle;
}

std::string startup_table(const StartupReport& report) {
  const bool has_cold = !report.cold.empty();
  const Startup cold = median_startup(report.cold), warm = median_startup(report.warm);
  std::string text = fmt::format("{}, {}, KV cache {}, on {}; ms, medians of {} starts\n", report.model,
                                 report.scheme, report.kv_dtype, report.device, report.warm.size());
  const auto row = [&](const std::string& name, double cold_ms, double warm_ms) {
    text += fmt::format("{:<36} {:>10} {:>10.1f}\n", name, has_cold ? fmt::format("{:.1f}", cold_ms) : "-",
                        warm_ms);
  };
  text += fmt::format("{:<36} {:>10} {:>10}\n", "phase", "cold", "warm");
  for (size_t i = 0; i < warm.phases.size(); ++i)
    row(warm.phases[i].name, has_cold ? cold.phases[i].ms : 0, warm.phases[i].ms);
  row("= ready", cold.ready_ms, warm.ready_ms);
  row("= first token", cold.first_token_ms, warm.first_token_ms);
  row("first token of a later request", cold.next_first_token_ms, warm.next_first_token_ms);
  if (!report.no_cold.empty()) text += "no cold starts: " + report.no_cold + "\n";
  text.pop_back();
  return text;
}

ordered_json to_json(const Startup& startup) {
  ordered_json phases = ordered_json::object();
  for (const StartupPhase& phase : startup.phases) phases[phase.name] = phase.ms;
  return {{"phases_ms", phases},
          {"ready_ms", startup.ready_ms},
          {"first_token_ms", startup.first_token_ms},
          {"next_first_token_ms", startup.next_first_token_ms}};
}

Result<Startup> startup_from_json(const ordered_json& json) {
  Startup startup;
  try {
    for (const auto& [name, ms] : json.at("phases_ms").items())
      startup.phases.push_back({name, ms.get<double>()});
    startup.ready_ms = json.at("ready_ms").get<double>();
    startup.first_token_ms = json.at("first_token_ms").get<double>();
    startup.next_first_token_ms = json.at("next_first_token_ms").get<double>();
  } catch (const nlohmann::json::exception& error) {
    return internal_error(std::string("a start's measurements cannot be read: ") + error.what());
  }
  return startup;
}

ordered_json to_json(const StartupReport& report) {
  ordered_json json = {{"model", report.model},
                       {"scheme", report.scheme},
                       {"kv_dtype", report.kv_dtype},
                       {"device", report.device}};
  for (const auto& [name, runs] : {std::pair{"cold", &report.cold}, std::pair{"warm", &report.warm}}) {
    if (runs->empty()) continue;
    json[name] = to_json(median_startup(*runs));
    json[name]["runs"] = ordered_json::array();
    for (const Startup& run : *runs) json[name]["runs"].push_back(to_json(run));
  }
  if (!report.no_cold.empty()) json["no_cold"] = report.no_cold;
  return json;
}

}  // namespace octet
