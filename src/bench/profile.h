// A decode step and a prefill step taken apart: how long each kind of op takes, what it moves and computes,
// how near that is to what the device can do, and what the step takes when nobody looks. By batch size,
// context length, scheme and KV cache; on any backend.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "backend/tracing_ops.h"
#include "bench/ceilings.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace octet {

struct ProfileOptions {
  std::vector<int32_t> batches = {1, 16, 64};   // sequences of a decode step
  std::vector<int32_t> contexts = {128, 2048};  // tokens that each of them has
  std::vector<int32_t> prompts = {512, 2048};   // tokens of a prefill step: one prompt
  double seconds = 0.05;                        // of untraced steps in a repeat
  int32_t repeats = 5;                          // medians of these
};

// Ops of one kind in a step: what they take of the untraced step. Beside them "host" (the work between ops of
// a backend that computes on the host) or "idle" (of a device that runs ahead: what the untraced step takes
// beyond its ops).
struct ProfilePart {
  std::string name;
  int32_t calls = 0;
  double us = 0, bytes = 0, flop = 0;
  double traced_us = 0;      // in a traced step, with what tracing adds
  double share = 0;          // of the step
  double ceiling_share = 0;  // the time at the ceilings over the time taken; 0: unknown
};

struct NamedRecord {
  std::string part;
  OpRecord op;
};

struct StepProfile {
  std::string phase;  // "decode" or "prefill"
  int32_t batch = 0, context = 0, tokens = 0;
  double step_us = 0;     // untraced, one after another as the engine runs them
  double host_us = 0;     // that the host needs to ask for such a step; all of it where the host computes
  double traced_us = 0;   // the same step with marks around its ops
  double ops_us = 0;      // sum over the parts that are ops, traced
  double rest_us = 0;     // the part "host" or "idle"
  double overlap_us = 0;  // of a device that runs ahead: what tracing adds, by marks and by keeping apart ops
                          // that otherwise run into one another
  double added_us = 0;    // of that an op's part, for it comes with each op, short or long
  std::vector<ProfilePart> parts;
  std::vector<NamedRecord> records;  // of the last traced step
};

struct ProfileVariant {
  std::string scheme, kv_dtype;  // as they were asked for
  std::string runs_as, kv_runs_as;
  std::vector<StepProfile> steps;
  std::vector<std::string> left_out;  // decode steps that the memory has no room for
};

struct ProfileReport {
  std::string model, backend, device;
  bool runs_ahead = false;
  Ceilings ceilings;
  double mark_us = 0;  // of one mark
  std::vector<ProfileVariant> variants;
};

using OpsFactory = std::function<Result<std::unique_ptr<Ops>>()>;

// kInvalidArgument, naming the option, for sizes that make no sense with this model.
Status check_profile(const ProfileOptions& options, const ModelConfig& config);

// Model, device and ceilings; no variant yet.
Result<ProfileReport> begin_profile(const Checkpoint& checkpoint, const OpsFactory& make_ops);

// Loads the model in model.scheme and model.kv_dtype and measures all steps; model's sizes are set here.
Result<ProfileVariant> profile_variant(std::shared_ptr<Checkpoint> checkpoint, const OpsFactory& make_ops,
                                       ModelOptions model, const ProfileOptions& options,
                                       ProfileReport& report);

// Which part each op of a step belongs to, told by the ops around it: what is multiplied between a norm and a
// rotation is qkv, before an activation gate_up, after it down, after attention o, and at the end the head.
std::vector<std::string> part_names(const std::vector<OpRecord>& ops);

// `steps`: the records of the same step, traced several times. The time of an op is its median over them, so
// that what held up one op of one step does not count.
void take_apart(const std::vector<std::vector<OpRecord>>& steps, const DeviceRates& ceilings, bool runs_ahead,
                StepProfile& step);

std::string profile_table(const ProfileReport& report);
nlohmann::ordered_json to_json(const ProfileReport& report);
// In the Trace Event Format: a process a step, a track for the device and one for the host.
nlohmann::ordered_json to_trace_events(const ProfileReport& report);

}  // namespace octet
