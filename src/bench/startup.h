// How long a process takes from its start until it can serve, and until its first token, by phases.
//
// A phase is measured by the process that starts; who started it says when. Each start is a process of its
// own; medians over several of them are reported.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"

namespace octet {

struct StartupPhase {
  std::string name;
  double ms = 0;
};

// In order; `ready` and `first token` count from the process's start.
struct Startup {
  std::vector<StartupPhase> phases;
  double ready_ms = 0, first_token_ms = 0,
         next_first_token_ms = 0;  // the last: of a request to a warm engine
};

struct StartupReport {
  std::string model, scheme, kv_dtype, device;
  std::vector<Startup> cold, warm;  // a run each
  std::string no_cold;              // why there is no cold start; empty: there is
};

// The files of a checkpoint: one file, or all of a folder. Empty where there is no such path.
std::vector<std::string> checkpoint_files(const std::string& path);

// Medians, phase by phase. The runs have the same phases.
Startup median_startup(const std::vector<Startup>& runs);

std::string startup_table(const StartupReport& report);
nlohmann::ordered_json to_json(const StartupReport& report);
nlohmann::ordered_json to_json(const Startup& startup);
// kInternal where it is not what to_json writes.
Result<Startup> startup_from_json(const nlohmann::ordered_json& json);

}  // namespace octet
