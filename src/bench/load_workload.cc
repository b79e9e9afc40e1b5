#include "bench/load_workload.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

using Json = nlohmann::ordered_json;
constexpr int32_t kMooncakeBlock = 512;  // tokens that one hash id stands for

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return not_found(path + ": cannot be read");
  return text;
}

int32_t around(int32_t length, double ratio, std::mt19937_64& random) {
  const auto low = static_cast<int32_t>(std::floor(length * (1 - ratio)));
  const auto high = static_cast<int32_t>(std::ceil(length * (1 + ratio)));
  return std::max(1, std::uniform_int_distribution(low, high)(random));
}

void append_tokens(std::vector<int32_t>& ids, int32_t n, const RandomLoad& tokens, std::mt19937_64& random) {
  std::uniform_int_distribution<int32_t> token(tokens.token_low, tokens.token_high - 1);
  for (int32_t i = 0; i < n; ++i) ids.push_back(token(random));
}

// The first thing that is said, and what comes before it (a system prompt): the messages of one request.
Json first_turn(const Json& entry) {
  Json messages = Json::array();
  const auto add = [&](std::string role, const Json& content) {
    if (role == "human") role = "user";
    if (role == "gpt") role = "assistant";
    if (role != "system" && role != "user") return false;
    if (!content.is_string()) return false;
    messages.push_back({{"role", role}, {"content", content}});
    return role == "user";
  };
  const auto text = [](const Json& object, const char* field) {
    return object.is_object() && object.contains(field) ? object[field] : Json();
  };
  const auto role = [&](const Json& object, const char* field) {
    const Json value = text(object, field);
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  for (const auto& [list, who, what] :
       {std::tuple("messages", "role", "content"), std::tuple("conversations", "from", "value")}) {
    if (!entry.contains(list) || !entry[list].is_array()) continue;
    for (const Json& message : entry[list]) {
      if (add(role(message, who), text(message, what))) return messages;
    }
  }
  if (entry.contains("turns") && entry["turns"].is_array() && !entry["turns"].empty() &&
      add("user", entry["turns"][0]))
    return messages;
  if (entry.contains("prompt") && add("user", entry["prompt"])) return messages;
  return nullptr;
}

Result<std::vector<Json>> read_entries(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  std::vector<Json> entries;
  if (const auto whole = Json::parse(text, nullptr, false); whole.is_array()) {
    entries.assign(whole.begin(), whole.end());
  } else {
    std::stringstream lines(text);
    int64_t number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      entries.push_back(Json::parse(line, nullptr, false));
      if (entries.back().is_discarded()) return corrupt(fmt::format("{}: line {} is no JSON", path, number));
    }
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].is_object()) return corrupt(fmt::format("{}: entry {} is no JSON object", path, i + 1));
  }
  if (entries.empty()) return corrupt(path + ": there is no entry in it");
  return entries;
}

// Seconds since some day: "2023-11-16 18:15:46.6805900". Negative where it is no time.
double seconds_of(const std::string& stamp) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, used = 0;
  double second = 0;
  if (std::sscanf(stamp.c_str(), "%d-%d-%d %d:%d:%lf%n", &year, &month, &day, &hour, &minute, &second,
                  &used) != 6)
    return -1;
  return ((day * 24.0 + hour) * 60 + minute) * 60 + second;  // a trace lasts an hour, not a month
}

struct TraceRow {
  double arrival = 0;
  int32_t input_len = 0, output_len = 0;
  std::vector<uint64_t> blocks;
};

Result<TraceRow> azure_row(const std::string& line, const std::string& where) {
  TraceRow row;
  const size_t first = line.find(','), second = line.find(',', first + 1);
  if (second != std::string::npos) {
    row.arrival = seconds_of(line.substr(0, first));
    std::from_chars(line.data() + first + 1, line.data() + second, row.input_len);
    std::from_chars(line.data() + second + 1, line.data() + line.size(), row.output_len);
  }
  if (second == std::string::npos || row.arrival < 0 || row.input_len < 1 || row.output_len < 0) {
    return corrupt(where +
                   ": expected TIMESTAMP,ContextTokens,GeneratedTokens, found: " + line.substr(0, 60));
  }
  return row;
}

Result<TraceRow> mooncake_row(const std::string& line, const std::string& where) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  TraceRow row;
  try {
    row.arrival = json.at("timestamp").get<double>() / 1000;
    row.input_len = json.at("input_length").get<int32_t>();
    row.output_len = json.at("output_length").get<int32_t>();
    if (json.contains("hash_ids")) row.blocks = json["hash_ids"].get<std::vector<uint64_t>>();
  } catch (const nlohmann::json::exception&) {
    row.input_len = 0;
  }
  if (row.input_len < 1)
    return corrupt(where +
                   ": expected {timestamp, input_length, output_length}, found: " + line.substr(0, 60));
  return row;
}

}  // namespace

std::vector<LoadRequest> random_load(const RandomLoad& load, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<LoadRequest> requests(static_cast<size_t>(load.n_requests));
  for (LoadRequest& request : requests) {
    append_tokens(request.prompt_ids, around(load.input_len, load.range_ratio, random), load, random);
    request.output_len = around(load.output_len, load.range_ratio, random);
  }
  return requests;
}

Result<std::vector<LoadRequest>> chat_load(const std::string& path, int32_t n_requests, int32_t output_len,
                                           uint64_t seed) {
  OCTET_ASSIGN_OR_RETURN(const auto entries, read_entries(path));
  std::vector<LoadRequest> all;
  for (const Json& entry : entries) {
    const Json messages = first_turn(entry);
    if (messages.is_null()) continue;
    LoadRequest request;
    request.messages = messages.dump();
    request.output_len = output_len;
    all.push_back(std::move(request));
  }
  if (all.empty()) {
    return corrupt(path + ": no entry has a user's message (messages, conversations, turns or prompt)");
  }
  std::mt19937_64 random(seed);
  std::shuffle(all.begin(), all.end(), random);
  const size_t n_distinct = all.size();
  for (size_t i = n_distinct; i < static_cast<size_t>(n_requests); ++i) all.push_back(all[i % n_distinct]);
  all.resize(static_cast<size_t>(n_requests));
  return all;
}

Result<std::vector<LoadRequest>> trace_load(const std::string& path, int32_t n_requests, double speed,
                                            int32_t max_len, const RandomLoad& tokens) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  std::stringstream lines(text);
  std::vector<LoadRequest> requests;
  const bool json = text.starts_with("{");
  double start = -1;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line) && static_cast<int32_t>(requests.size()) < n_requests;) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || (!json && number == 1)) continue;  // the CSV's header
    const std::string where = fmt::format("{}: line {}", path, number);
    OCTET_ASSIGN_OR_RETURN(const TraceRow row, json ? mooncake_row(line, where) : azure_row(line, where));
    if (start < 0) start = row.arrival;
    const int32_t output_len = std::max(row.output_len, 1);
    if (int64_t{row.input_len} + output_len > max_len) continue;
    LoadRequest request;
    request.arrival = (row.arrival - start) / speed;
    request.output_len = output_len;
    for (const uint64_t block : row.blocks) {
      std::mt19937_64 random(block);
      const auto left = row.input_len - static_cast<int32_t>(request.prompt_ids.size());
      append_tokens(request.prompt_ids, std::clamp(left, 0, kMooncakeBlock), tokens, random);
    }
    std::mt19937_64 own(static_cast<uint64_t>(number) << 32);
    append_tokens(request.prompt_ids, row.input_len - static_cast<int32_t>(request.prompt_ids.size()), tokens,
                  own);
    requests.push_back(std::move(request));
  }
  if (requests.empty())
    return corrupt(fmt::format("{}: no request of at most {} tokens in it", path, max_len));
  return requests;
}

void set_arrivals(std::vector<LoadRequest>& requests, double rate, double burstiness, uint64_t seed) {
  if (rate <= 0) {
    for (LoadRequest& request : requests) request.arrival = 0;
    return;
  }
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> gap(burstiness, 1 / (rate * burstiness));
  double now = 0;
  for (LoadRequest& request : requests) {
    request.arrival = now;
    now += gap(random);
  }
}

}  // namespace octet
