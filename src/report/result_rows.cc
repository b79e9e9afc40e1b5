// The rows of each kind of result.
#include "report/result_rows.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "report/result_fields.h"

namespace octet {
namespace {

using nlohmann::json;

// "llama-3.1-8b (random weights)" is "llama-3.1-8b" to a picture.
std::string plain_name(const std::string& name) {
  return name.substr(0, name.find(" ("));
}

// Which of a machine's equal devices it was does not matter.
std::string plain_device(const std::string& device) {
  return device.substr(0, device.find(", CUDA device"));
}

Status set_workload(const std::string& text, const std::string& where, SpeedRow& row) {
  char slash = 0;
  std::istringstream in(text);
  if (in >> row.input_len >> slash >> row.output_len && slash == '/' && in.peek() == EOF) return {};
  return corrupt(where + ": workload '" + text + "': expected INPUT/OUTPUT in tokens, such as 2048/128");
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

std::optional<Measured> measured(ResultFields& f, const char* key, const char* error) {
  const auto value = f.number_if(key);
  return value.has_value() ? std::optional(Measured{*value, f.number_if(error).value_or(0)}) : std::nullopt;
}

// Of "fp8 --weights gptq" the scheme; nothing where more than the linear layers of the blocks is changed.
std::string plain_scheme(const std::string& options) {
  const bool more = options.find("--kv") != std::string::npos || options.find("head") != std::string::npos;
  return more ? "" : options.substr(0, options.find(' '));
}

// Accuracies that stand apart from the other rows of a file: they belong to its first model, whose rows begin
// at `first`.
Status add_task(const json& task, const std::string& name, const std::string& where, size_t first,
                Results& results) {
  ResultFields top(task, where);
  const json& rows = top.list("rows");
  OCTET_RETURN_IF_ERROR(top.status());
  for (size_t i = 0; i < rows.size(); ++i) {
    ResultFields f(rows[i], item(where, "rows", i));
    const std::string scheme = f.text("scheme");
    const Measured accuracy{f.number("acc"), f.number_if("acc_error").value_or(0)};
    OCTET_RETURN_IF_ERROR(f.status());
    const auto begin = results.qualities.begin() + static_cast<int64_t>(first);
    auto row = std::find_if(begin, results.qualities.end(), [&](const QualityRow& q) {
      return q.scheme == scheme && q.model == begin->model;
    });
    if (row == results.qualities.end()) {
      QualityRow alone;
      alone.model = begin->model;
      alone.scheme = alone.runs_as = scheme;
      row = results.qualities.insert(row, std::move(alone));
    }
    row->accuracy[name] = accuracy;
  }
  return {};
}

}  // namespace

std::string item(const std::string& file, const char* list, size_t index) {
  return file + ": " + list + "[" + std::to_string(index) + "]";
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
  // Recorded arrivals come at no round rate: pictures have them beside those of the nearest one.
  if (row.contains("arrivals") && s.rate >= 1) s.rate = std::round(s.rate);
  s.requests = f.number_if("requests").value_or(0);
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

Status add_quality(const json& whole, const std::string& file, Results& results) {
  ResultFields top(whole, file);
  const std::string model = top.text("model");
  const json& rows = top.list("rows");
  OCTET_RETURN_IF_ERROR(top.status());
  const size_t first = results.qualities.size();
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
      q.accuracy[name] = {task.number("acc"), task.number_if("acc_error").value_or(0)};
      OCTET_RETURN_IF_ERROR(task.status());
    }
    results.qualities.push_back(std::move(q));
  }
  for (const auto& [name, value] : whole.items()) {
    if (value.is_object() && value.contains("rows"))
      OCTET_RETURN_IF_ERROR(add_task(value, name, file + ": " + name, first, results));
  }
  return {};
}

}  // namespace octet
