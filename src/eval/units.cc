#include "eval/units.h"

#include "base/progress.h"

namespace octet {

Result<std::vector<nlohmann::json>> run_units(
    const std::vector<Unit>& units, const UnitRun& run, Journal& journal,
    const std::function<Result<nlohmann::json>(size_t unit)>& work) {
  int64_t left = 0;
  for (const Unit& unit : units) left += journal.done().contains(run.prefix + unit.name) ? 0 : unit.weight;
  Progress progress(run.title, run.counted, left);
  std::vector<nlohmann::json> results;
  for (size_t i = 0; i < units.size(); ++i) {
    const std::string name = run.prefix + units[i].name;
    if (const auto done = journal.done().find(name); done != journal.done().end()) {
      results.push_back(done->second);
      continue;
    }
    if (run.interrupted && run.interrupted()) return unavailable(run.title + " was interrupted");
    OCTET_ASSIGN_OR_RETURN(auto result, work(i));
    OCTET_RETURN_IF_ERROR(journal.append(name, result));
    results.push_back(std::move(result));
    progress.advance(units[i].weight);
  }
  return results;
}

}  // namespace octet
