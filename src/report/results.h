// What measurements left in files, read back for a report: speeds, steps taken apart, qualities. The kind of
// a file is told by what is in it, whatever its name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "report/limits.h"

namespace octet {

// One run of requests of exact lengths.
struct SpeedRow {
  std::string engine = "octet", device, model, scheme, kv_dtype;
  bool quantized_head = false;
  int32_t input_len = 0, output_len = 0, max_batch = 0;
  double rate = 0;      // requests a second; 0: all at once
  double requests = 0;  // how many; 0: not told
  std::optional<double> output_tok_s, ttft_p50, ttft_p99, tpot_p50;
  bool summary = false;  // of runs that may be there one by one as well
};

// One step taken apart.
struct StepRow {
  struct Part {
    std::string name;
    double us = 0;
  };
  std::string device, model, scheme, kv_dtype, phase;
  int32_t batch = 0, context = 0, tokens = 0;
  double step_us = 0;
  std::vector<Part> parts;
};

struct Measured {
  double value = 0, error = 0;  // one standard error; 0: not told
};

// One scheme beside the 16-bit model.
struct QualityRow {
  std::string model, scheme, runs_as;  // scheme "baseline": the model itself
  std::optional<Measured> perplexity, over_baseline, kl, top1;
  std::map<std::string, Measured> accuracy;  // by task
};

// What wrote a result: empty where the file does not tell.
struct Origin {
  std::string file, version, command;
  bool operator==(const Origin&) const = default;
};

struct Results {
  std::vector<SpeedRow> speeds;
  std::vector<StepRow> steps;
  std::vector<QualityRow> qualities;
  std::map<std::string, DeviceRates> rates;  // measured, by device
  std::vector<std::string> files;            // what was read
  std::vector<Origin> origins;               // of their results, each once
  std::vector<std::string> skipped;          // results of other commands, which no picture shows
};

// Files, and folders of them (names that end in .json or .jsonl; folders below are not looked into). Errors
// name the file and, in lines of JSON, the line: kNotFound for what is not there or an empty folder, kCorrupt
// for broken text and fields that are not as expected, kUnsupported for JSON that is no result.
Result<Results> read_results(const std::vector<std::string>& paths);

// The rows of one file's text, added to `results`.
Status read_result(const std::string& file, const std::string& text, Results& results);

}  // namespace octet
