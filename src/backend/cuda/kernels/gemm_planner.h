// Which plan a weight's products get: timed once on this device where that is asked for, kept in a file, else
// the best guess. No device code: what times is handed in.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/kernels/gemm_tuning.h"

namespace octet::cuda {

// Steps of more tokens than kMostTimedTokens have one good kernel and are not timed; of more than
// kMostPlannedTokens, the plan of these.
inline constexpr int64_t kMostTimedTokens = 512, kMostPlannedTokens = 16384;

// Plans of one shape, for every number of tokens.
class ShapePlans {
 public:
  ShapePlans(const GemmPlans& plans, const GemmShape& shape);
  const GemmPlan& at(int64_t m) const { return planned(m).plan; }
  // The tokens of a first product where two take less time than one, else m. The first fills its tiles: a few
  // tokens more would take some shapes a whole round of tiles longer.
  int64_t first_part(int64_t m) const;

 private:
  const PlannedGemm& planned(int64_t m) const;

  std::vector<PlannedGemm> few_;   // gemm_buckets(kMostTimedTokens)
  std::vector<PlannedGemm> many_;  // up to 128 i + 128 tokens
};

struct GemmPlannerOptions {
  bool batch_invariant = false;
  bool timed = false;
  std::string file;    // of timed plans; empty: they are not kept
  std::string device;  // that they were timed on
  std::function<void(const std::string&)> info, warning;
};

class GemmPlanner {
 public:
  // Times the candidates of one shape, for the buckets up to kMostTimedTokens that `plans` lacks.
  using Tune = std::function<Status(GemmPlans& plans, const GemmShape& shape)>;

  // A file that cannot be read is a warning, and is left as it is.
  GemmPlanner(GemmPlannerOptions options, Tune tune);

  // The first call for a shape may time; a shape that cannot be timed gets the best guess and a warning.
  std::shared_ptr<const ShapePlans> plans(const GemmShape& shape);

 private:
  void time(const GemmShape& shape);
  void save();

  GemmPlannerOptions options_;
  Tune tune_;
  GemmPlans plans_;
  bool keep_;  // whether the file may be written
  std::map<GemmShape, std::shared_ptr<const ShapePlans>> shapes_;
};

// Where timed plans are kept unless the user says otherwise: a file a device, mode and version of the kernels
// in $XDG_CACHE_HOME/octet or ~/.cache/octet; empty where there is neither.
std::string default_gemm_plan_file(const std::string& device, bool batch_invariant);

}  // namespace octet::cuda
