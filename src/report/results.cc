#include "report/results.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "report/result_fields.h"

namespace octet {
namespace {

using nlohmann::json;

bool is_number(const json& object, const char* key) {
  return object.contains(key) && object[key].is_number();
}

std::string item(const std::string& file, const char* list, size_t index) {
  return file + ": " + list + "[" + std::to_string(index) + "]";
}

// "llama-3.1-8b (random weights)" is "llama-3.1-8b" to a picture.
std::string plain_name(const std::string& name) {
  return name.substr(0, name.find(" ("));
}

// Which of a machine's equal devices it was does not matter.
std::string plain_device(const std::string& device) {
  return device.substr(0, device.find(", CUDA device"));
}

Status add_speed(const json& row, const std::string& where, Results& results) {
  ResultFields f(row, where);
  SpeedRow s;
  s.model = plain_name(f.text("model"));
  s.device = plain_device(f.text("device"));
  s.scheme = f.text("scheme");
  s.kv_dtype = f.text("kv_dtype");
  s.quantized_head = f.flag("quantized_head");
  s.input_len = f.count("input_len");
  s.output_len = f.count("output_len");
  s.max_batch = f.count("max_batch");
  s.rate = f.number_if("rate").value_or(0);
  s.output_tok_s = f.number("output_tok_s");
  ResultFields ttft(f.object("ttft_ms"), where + ": ttft_ms"), tpot(f.object("tpot_ms"), where + ": tpot_ms");
  OCTET_RETURN_IF_ERROR(f.status());
  s.ttft_p50 = ttft.number("p50");
  s.ttft_p99 = ttft.number("p99");
  s.tpot_p50 = tpot.number("p50");
  OCTET_RETURN_IF_ERROR(ttft.status());
  OCTET_RETURN_IF_ERROR(tpot.status());
  results.speeds.push_back(std::move(s));
  return {};
}

Status set_workload(const std::string& text, const std::string& where, SpeedRow& row) {
  char slash = 0;
  std::istringstream in(text);
  if (in >> row.input_len >> slash >> row.output_len && slash == '/' && in.peek() == EOF) return {};
  return corrupt(where + ": workload '" + text + "': expected INPUT/OUTPUT in tokens, such as 2048/128");
}

// tools/gpu/table.py: medians of a sweep.
Status add_table(const json& whole, const std::string& file, Results& results) {
  ResultFields top(whole, file);
  SpeedRow s;
  s.summary = true;
  s.model = plain_name(top.text("model"));
  s.device = plain_device(top.text("device"));
  OCTET_RETURN_IF_ERROR(top.status());
  const json& rows = top.list("rows");
  for (size_t i = 0; i < rows.size(); ++i) {
    ResultFields f(rows[i], item(file, "rows", i));
    s.scheme = f.text("scheme");
    s.kv_dtype = f.text("kv_dtype");
    s.max_batch = f.count("max_batch");
    s.output_tok_s = f.number("output_tok_s");
    s.ttft_p50 = f.number_if("ttft_ms_p50");
    s.tpot_p50 = f.number_if("tpot_ms_p50");
    const std::string workload = f.text("workload");
    OCTET_RETURN_IF_ERROR(f.status());
    OCTET_RETURN_IF_ERROR(set_workload(workload, f.where(), s));
    results.speeds.push_back(s);
  }
  return {};
}

// "fp8-static+fp8": a scheme, and a cache that is not in 16 bits.
void set_scheme(const std::string& name, SpeedRow& row) {
  const size_t plus = name.find('+');
  row.scheme = name.substr(0, plus);
  row.kv_dtype = plus == std::string::npos ? "bf16" : name.substr(plus + 1);
}

Status add_rival_latency(const json& schemes, const std::string& file, SpeedRow row, Results& results) {
  row.input_len = 2048;
  row.output_len = 128;
  row.max_batch = 64;
  row.rate = 4;
  for (const auto& [scheme, times] : schemes.items()) {
    ResultFields f(times, file + ": time to first token of " + scheme);
    set_scheme(scheme, row);
    row.ttft_p50 = f.number("p50");
    row.ttft_p99 = f.number("p99");
    OCTET_RETURN_IF_ERROR(f.status());
    results.speeds.push_back(row);
  }
  return {};
}

// Another engine's figures, by workload, max batch and scheme.
Status add_rival(const json& whole, const std::string& file, Results& results) {
  ResultFields top(whole, file);
  SpeedRow row;
  row.engine = top.text("engine");
  row.device = plain_device(top.text("device"));
  row.model = plain_name(top.text("model"));
  OCTET_RETURN_IF_ERROR(top.status());
  for (const auto& [workload, batches] : whole.at("output_tok_s").items()) {
    const std::string where = file + ": output_tok_s";
    OCTET_RETURN_IF_ERROR(set_workload(workload, where, row));
    for (const auto& [batch, schemes] : batches.items()) {
      std::istringstream in(batch);
      if (!(in >> row.max_batch) || in.peek() != EOF || !schemes.is_object())
        return corrupt(where + ": " + workload + ": '" + batch + "': expected a max batch and its schemes");
      ResultFields f(schemes, where + ": " + workload + ": " + batch);
      for (const auto& [scheme, ignored] : schemes.items()) {
        set_scheme(scheme, row);
        row.output_tok_s = f.number(scheme.c_str());
        OCTET_RETURN_IF_ERROR(f.status());
        results.speeds.push_back(row);
      }
    }
  }
  constexpr const char* kLatency = "ttft_at_4_requests_a_second_2048_128_batch_64";
  row.output_tok_s.reset();
  return whole.contains(kLatency) ? add_rival_latency(whole[kLatency], file, row, results) : Status();
}

Status add_profile(const json& whole, const std::string& file, Results& results) {
  ResultFields top(whole, file);
  StepRow common;
  common.model = plain_name(top.text("model"));
  common.device = plain_device(top.text("device"));
  ResultFields c(top.object("ceilings"), file + ": ceilings");
  OCTET_RETURN_IF_ERROR(top.status());
  results.rates[common.device] = {c.number("memory_bytes_s"), c.number("half_flop_s"),
                                  c.number("int8_flop_s"), c.number("fp8_flop_s")};
  OCTET_RETURN_IF_ERROR(c.status());
  const json& steps = top.list("steps");
  OCTET_RETURN_IF_ERROR(top.status());
  for (size_t i = 0; i < steps.size(); ++i) {
    ResultFields f(steps[i], item(file, "steps", i));
    StepRow s = common;
    s.scheme = f.text("scheme");
    s.kv_dtype = f.text("kv_dtype");
    s.phase = f.text("phase");
    s.batch = f.count("batch");
    s.context = f.count("context");
    s.tokens = f.count("tokens");
    s.step_us = f.number("step_us");
    const json& parts = f.list("parts");
    OCTET_RETURN_IF_ERROR(f.status());
    for (size_t p = 0; p < parts.size(); ++p) {
      ResultFields part(parts[p], item(f.where(), "parts", p));
      s.parts.push_back({part.text("part"), part.number("us")});
      OCTET_RETURN_IF_ERROR(part.status());
    }
    results.steps.push_back(std::move(s));
  }
  return {};
}

std::optional<Measured> measured(ResultFields& f, const char* key, const char* error) {
  const auto value = f.number_if(key);
  return value.has_value() ? std::optional(Measured{*value, f.number_if(error).value_or(0)}) : std::nullopt;
}

// Of "fp8 --weights gptq" the scheme; nothing where more than the linear layers of the blocks is changed.
std::string plain_scheme(const std::string& options) {
  const bool more = options.find("--kv") != std::string::npos || options.find("head") != std::string::npos;
  return more ? "" : options.substr(0, options.find(' '));
}

Status add_quality(const json& whole, const std::string& file, Results& results) {
  ResultFields top(whole, file);
  const std::string model = top.text("model");
  const json& rows = top.list("rows");
  OCTET_RETURN_IF_ERROR(top.status());
  for (size_t i = 0; i < rows.size(); ++i) {
    ResultFields f(rows[i], item(file, "rows", i));
    QualityRow q;
    const std::string variant = f.text_or("variant", model);
    q.model = variant == model ? model : model + ", " + variant;
    q.scheme = f.text("scheme");
    q.runs_as = f.text_or("runs_as", plain_scheme(f.text_or("options", q.scheme)));
    q.perplexity = measured(f, "perplexity", "perplexity_error");
    q.kl = measured(f, "kl", "kl_error");
    q.top1 = measured(f, "top1", "top1_error");
    if (auto ratio = measured(f, "ratio", "ratio_error")) {
      q.over_baseline = Measured{ratio->value - 1, ratio->error};
    } else {
      q.over_baseline = measured(f, "over_16_bit", "over_16_bit_error");
    }
    OCTET_RETURN_IF_ERROR(f.status());
    for (const auto& [name, value] : rows[i].items()) {
      if (!value.is_object() || !value.contains("acc")) continue;
      ResultFields task(value, f.where() + ": " + name);
      q.accuracy[name] = *measured(task, "acc", "acc_error");
      OCTET_RETURN_IF_ERROR(task.status());
    }
    results.qualities.push_back(std::move(q));
  }
  return {};
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
      return unsupported(where + ": no row of octet bench sweep");
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
  }
  if (whole.is_object()) return add_object(whole, file, results);
  if (!whole.is_array() || whole.empty()) return unsupported(file + " is no result that a report shows");
  for (size_t i = 0; i < whole.size(); ++i) {  // octet bench sweep --json
    if (!whole[i].is_object() || !whole[i].contains("cell"))
      return unsupported(item(file, "", i) + " is no row of octet bench sweep");
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
