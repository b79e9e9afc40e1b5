// Many throughput runs over one loaded model: workloads x max batch sizes x request rates, repeated in an
// order that is drawn anew each time, so that a machine that slows down does so for all of them. A result is
// a row, written as a line of JSON when it is there: a sweep that was interrupted goes on where it stopped.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/offline.h"

namespace octet {

struct Workload {
  int32_t input_len = 0, output_len = 0;
  int32_t requests_per_sequence = 0;  // 0: as the sweep's
  bool operator==(const Workload&) const = default;
};
// "2048/128", or "2048/128x2" with the requests a sequence. Errors: kInvalidArgument, naming the text.
Result<Workload> parse_workload(const std::string& text);

struct SweepOptions {
  std::vector<Workload> workloads;
  std::vector<int32_t> max_batches;
  std::vector<double> rates = {0};    // requests a second; 0: all at once
  int32_t requests_per_sequence = 2;  // requests of a run: max batch times this
  int32_t repeats = 1;
  uint64_t seed = 1;
};

struct SweepCell {
  Workload workload;
  int32_t max_batch = 0;
  double rate = 0;
  int32_t repeat = 0;
  // What a row and a cell are known by: "2048/128 batch 64 rate 0 repeat 1".
  std::string key() const;
};

// All cells of one repeat, in a drawn order.
std::vector<SweepCell> sweep_cells(const SweepOptions& options, int32_t repeat);
int32_t longest_context(const SweepOptions& options);

// Runs the cells whose key is not in `done`, after a warm-up, and gives `on_row` each result:
// {input_len, output_len, max_batch, rate, repeat, requests, output_tok_s, ...}.
Status bench_sweep(Model& model, const SweepOptions& options, const std::vector<SweepCell>& cells,
                   const std::set<std::string>& done,
                   const std::function<Status(const SweepCell&, nlohmann::ordered_json)>& on_row);

// Medians over the repeats: a table of output tokens a second, with the spread (largest over smallest) where
// there are several. Rows as bench_sweep gives them, each with `scheme` and `kv_dtype`.
std::string sweep_table(const std::vector<nlohmann::ordered_json>& rows);

}  // namespace octet
