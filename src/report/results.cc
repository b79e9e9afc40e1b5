#include "report/results.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "report/result_rows.h"

namespace octet {
namespace {

using nlohmann::json;

bool is_number(const json& object, const char* key) {
  return object.contains(key) && object[key].is_number();
}

void add_origin(const json& result, const std::string& file, Results& results) {
  const auto text = [&](const char* key) {
    return result.contains(key) && result[key].is_string() ? result[key].get<std::string>() : std::string();
  };
  const Origin origin{file, text("version"), text("command")};
  if (std::ranges::find(results.origins, origin) == results.origins.end()) results.origins.push_back(origin);
}

bool rows_have(const json& whole, const char* key) {
  return whole.contains("rows") && whole["rows"].is_array() && !whole["rows"].empty() &&
         whole["rows"][0].contains(key);
}

// What other commands write. They are no mistake, but no picture shows them.
const char* other_command(const json& whole) {
  if (whole.contains("prefill_tok_s")) return "octet bench latency";
  if (whole.contains("traceEvents")) return "octet profile --trace";
  if (whole.contains("ceilings") && whole.contains("rows")) return "octet bench kernels";
  if (whole.contains("request_throughput")) return "octet bench serve";
  return nullptr;
}

Status add_object(const json& whole, const std::string& file, Results& results) {
  add_origin(whole, file, results);
  if (whole.contains("cell") || is_number(whole, "output_tok_s")) return add_speed(whole, file, results);
  if (whole.contains("engine") && whole.contains("output_tok_s") && whole["output_tok_s"].is_object())
    return add_rival(whole, file, results);
  if (whole.contains("steps") && whole.contains("ceilings")) return add_profile(whole, file, results);
  if (rows_have(whole, "workload") && rows_have(whole, "output_tok_s"))
    return add_table(whole, file, results);
  if (rows_have(whole, "scheme") && (rows_have(whole, "perplexity") || rows_have(whole, "kl")))
    return add_quality(whole, file, results);
  if (const char* command = other_command(whole); command != nullptr) {
    results.skipped.push_back(file + " (" + command + ")");
    return {};
  }
  return unsupported(file +
                     " is no result that a report shows: expected what octet bench sweep, octet bench "
                     "throughput, octet profile or octet eval compare writes with --output");
}

Status add_lines(const std::string& file, const std::string& text, Results& results) {
  std::istringstream in(text);
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = file + ":" + std::to_string(++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json row = json::parse(line, nullptr, false);
    if (row.is_discarded())
      return corrupt(
          where + ": broken line; remove it, and octet bench sweep with the same --output measures it again");
    if (!row.is_object() || !row.contains("output_tok_s"))
      return unsupported(where + ": no row of octet bench sweep, or of another version's; measure it again");
    add_origin(row, file, results);
    OCTET_RETURN_IF_ERROR(add_speed(row, where, results));
  }
  return {};
}

bool is_lines(const std::string& file, const std::string& text) {
  if (file.ends_with(".jsonl")) return true;
  const size_t end = text.find('\n');
  if (end == std::string::npos || text.find_first_not_of(" \t\r\n", end) == std::string::npos) return false;
  return json::parse(text.substr(0, end), nullptr, false).is_object();  // a whole object in the first line
}

Result<std::vector<std::string>> list_files(const std::vector<std::string>& paths) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(path, error)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".json" || extension == ".jsonl") found.push_back(entry.path().string());
    }
    if (error) return not_found(path + ": cannot read the folder");
    if (found.empty()) return not_found(path + ": the folder has no file that ends in .json or .jsonl");
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

}  // namespace

Status read_result(const std::string& file, const std::string& text, Results& results) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return corrupt(file + ": the file is empty");
  if (is_lines(file, text)) return add_lines(file, text, results);
  json whole;
  try {
    whole = json::parse(text);
  } catch (const json::parse_error& error) {
    const auto end = text.begin() + static_cast<int64_t>(std::min(error.byte, text.size()));
    return corrupt(file + ":" + std::to_string(1 + std::count(text.begin(), end, '\n')) +
                   ": this is no JSON; the file may have been cut short: write it again");
  } catch (const json::exception&) {
    return corrupt(file + ": a number in it is too large to be read; write the file again");
  }
  if (whole.is_object()) return add_object(whole, file, results);
  if (!whole.is_array() || whole.empty()) return unsupported(file + " is no result that a report shows");
  for (size_t i = 0; i < whole.size(); ++i) {  // octet bench sweep --json
    if (!whole[i].is_object() || !whole[i].contains("cell"))
      return unsupported(item(file, "", i) + " is no row of octet bench sweep");
    add_origin(whole[i], file, results);
    OCTET_RETURN_IF_ERROR(add_speed(whole[i], item(file, "", i), results));
  }
  return {};
}

Result<Results> read_results(const std::vector<std::string>& paths) {
  Results results;
  OCTET_ASSIGN_OR_RETURN(results.files, list_files(paths));
  for (const std::string& path : results.files) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!file || !(text << file.rdbuf() || file.peek() == EOF))
      return not_found(path + ": there is no such file, or it cannot be read");
    OCTET_RETURN_IF_ERROR(read_result(path, text.str(), results));
  }
  return results;
}

}  // namespace octet
