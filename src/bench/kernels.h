// The ops of a model one by one: how long each takes, what it moves and computes, and how near that is to
// what the device can do. It goes through Ops, so any backend can be measured.
//
// An op runs many times between two fences, its weights and caches in turn those of several layers, so that
// no cache of the device holds them; where the backend records steps, the runs are recorded, as in decoding.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "bench/ceilings.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace octet {

struct KernelBenchOptions {
  std::vector<int32_t> tokens = {1, 16, 64, 256,
                                 2048};             // rows of linear layers, norms, activations, rotations
  std::vector<int32_t> batches = {1, 16, 64, 256};  // sequences of decode attention and of sampling
  std::vector<int32_t> contexts = {1024};           // tokens of each of these sequences
  std::vector<int32_t> prompts = {512, 2048};       // tokens of a prompt, for prefill attention
  double seconds = 0.02;                            // of one measurement
  int32_t repeats = 3;                              // the median of these is reported
};

struct KernelRow {
  std::string op;     // "linear qkv", "attention decode", ...
  std::string shape;  // "6144x4096", "context 1024", ...
  int64_t rows = 0;   // tokens or sequences
  double us = 0, bytes = 0, flop = 0;
  double share = 0;  // of the ceiling that binds: the time at the ceilings over the time taken; 0: unknown
  double library_us =
      0;  // of the best ready-made kernel on such a device, stored, not measured now; 0: unknown
  std::string library;  // which that is
};

struct KernelReport {
  std::string model, scheme, kv_dtype, device;
  Ceilings ceilings;
  std::vector<KernelRow> rows;
};

// Loads as many layers as keep weights out of the device's caches. Errors: those of loading a model;
// kInvalidArgument for sizes that are not positive or larger than the model's context.
Result<KernelReport> bench_kernels(std::shared_ptr<Checkpoint> checkpoint, std::unique_ptr<Ops> ops,
                                   ModelOptions model, const KernelBenchOptions& options);

// What a library takes for a product [m, k] x [n, k] of operands of this type, with its name; us 0: unknown.
struct LibraryFigure {
  double us = 0;
  const char* name = "";
};
LibraryFigure library_product(const std::string& device, QType type, int64_t m, int64_t n, int64_t k);

std::string kernel_table(const KernelReport& report);
nlohmann::ordered_json to_json(const KernelReport& report);

}  // namespace octet
