// An evaluation as a list of units (windows, blocks of questions), each finished whole: shown as they go,
// kept in a journal, skipped where an earlier run has done them, ended between two of them where the user
// interrupts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/journal.h"

namespace octet {

struct Unit {
  std::string name;    // unique in the run
  int64_t weight = 1;  // in what progress counts: tokens, questions
};

struct UnitRun {
  std::string title, counted;         // "perplexity", "tokens"
  std::function<bool()> interrupted;  // may be empty
  std::string prefix;                 // of the units' names, where a journal holds several runs
};

// The units' results in order. `work` is called for those that the journal lacks.
// Errors: of `work` and the journal; kUnavailable where the user interrupted.
Result<std::vector<nlohmann::json>> run_units(const std::vector<Unit>& units, const UnitRun& run,
                                              Journal& journal,
                                              const std::function<Result<nlohmann::json>(size_t unit)>& work);

}  // namespace octet
