#include "backend/cuda/kernels/gemm_planner.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace octet::cuda {
namespace {

constexpr int64_t kStep = 128;  // more tokens change the tiles, see TileGrid
constexpr double kClearlyLess = 0.98;

}  // namespace

ShapePlans::ShapePlans(const GemmPlans& plans, const GemmShape& shape) {
  for (const int64_t m : gemm_buckets(kMostTimedTokens))
    few_.push_back(plans.find(shape.type, m, shape.n, shape.k));
  for (int64_t m = kStep; m <= kMostPlannedTokens; m += kStep) {
    const GemmProblem problem = plans.problem(shape.type, m, shape.n, shape.k);
    const GemmPlan plan = plan_gemm(problem);
    many_.push_back({plan, estimate_gemm(plan, problem)});
  }
}

int64_t ShapePlans::first_part(int64_t m) const {
  int64_t best = m;
  if (m <= kMostTimedTokens || m > kMostPlannedTokens) return best;
  double least = kClearlyLess * planned(m).us;
  const int64_t whole = (m - 1) / 256 * 256;
  for (const int64_t first : {whole, whole - 256}) {
    if (first == 0) break;
    const double us = planned(first).us + planned(m - first).us;
    if (us < least) least = us, best = first;
  }
  return best;
}

const PlannedGemm& ShapePlans::planned(int64_t m) const {
  if (m > kMostTimedTokens) {
    const auto i = static_cast<size_t>((m - 1) / kStep);
    return many_[std::min(i, many_.size() - 1)];
  }
  size_t bucket = 0;
  for (int64_t tokens = 8; tokens < m; tokens *= 2) ++bucket;
  return few_[bucket];
}

GemmPlanner::GemmPlanner(GemmPlannerOptions options, Tune tune)
    : options_(std::move(options)),
      tune_(std::move(tune)),
      plans_(options_.batch_invariant),
      keep_(options_.timed && !options_.file.empty()) {
  if (!keep_) return;
  const Status loaded = plans_.load(options_.file, options_.device);
  if (loaded.ok() || loaded.code() == StatusCode::kNotFound) return;
  options_.warning("cuda: " + loaded.message());
  keep_ = false;
}

std::shared_ptr<const ShapePlans> GemmPlanner::plans(const GemmShape& shape) {
  auto& plans = shapes_[shape];
  if (plans == nullptr) {
    if (options_.timed) time(shape);
    plans = std::make_shared<const ShapePlans>(plans_, shape);
  }
  return plans;
}

void GemmPlanner::time(const GemmShape& shape) {
  const auto buckets = gemm_buckets(kMostTimedTokens);
  const bool known =
      std::all_of(buckets.begin(), buckets.end(), [&](int64_t m) { return plans_.has(shape, m); });
  if (!known) {
    const Status timed = tune_(plans_, shape);
    if (!timed.ok()) return options_.warning(timed.message() + "; products run by the built-in plans");
  }
  options_.info("cuda: " + std::string(known ? "kept" : "timed") + " plans of " + plans_.describe(shape));
  if (!known && keep_) save();
}

// Another process may have written since this one read: its plans stay, ours win.
void GemmPlanner::save() {
  GemmPlans all(options_.batch_invariant);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(options_.file).parent_path(), error);
  const Status loaded = all.load(options_.file, options_.device);
  all.merge(plans_);
  const Status saved = loaded.ok() || loaded.code() == StatusCode::kNotFound
                           ? all.save(options_.file, options_.device)
                           : loaded;
  if (saved.ok()) return;
  options_.warning("cuda: " + saved.message());
  keep_ = false;
}

std::string default_gemm_plan_file(const std::string& device, bool batch_invariant) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && *cache == '/') {
    folder = cache;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  std::string name = "gemm-plans-" + std::to_string(kGemmPlansVersion) + "-";
  for (const char c : device) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  return folder / "octet" / (name + (batch_invariant ? "-batch-invariant.txt" : ".txt"));
}

}  // namespace octet::cuda
