#include "backend/cuda/kernels/gemm_plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace octet::cuda {
namespace {

constexpr int64_t kSharedPerMultiprocessor = 233472, kSharedPerBlock = 231424, kReserved = 2048;
constexpr int32_t kMaxStages = 32;
constexpr std::array<std::pair<int32_t, int32_t>, 9> kTiles{
    {{64, 8}, {64, 16}, {64, 32}, {64, 64}, {64, 128}, {64, 256}, {128, 64}, {128, 128}, {128, 256}}};

constexpr std::array<int32_t, 4> kTileColumns{128, 192, 224, 256};

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

bool tile_exists(const GemmPlan& plan) {
  if (plan.kernel == GemmKernel::kTile) {
    const bool columns =
        std::find(kTileColumns.begin(), kTileColumns.end(), plan.tile_n) != kTileColumns.end();
    return plan.tile_m == 128 && columns && !plan.promote && !(plan.square && plan.tile_n != 128);
  }
  const bool known =
      std::find(kTiles.begin(), kTiles.end(), std::pair{plan.tile_n, plan.tile_m}) != kTiles.end();
  return known && !(plan.promote && plan.tile_m == 256) && !plan.square;
}

// Constants of the kernel: what fits beside the results.
int32_t tile_stages(const GemmPlan& plan) {
  return plan.tile_n > 128 ? 4 : 6;
}

int64_t stage_bytes(const GemmPlan& plan) {
  return int64_t{gemm_stage_panels(plan)} * (plan.tile_n + plan.tile_m) * 128;
}

// Whole waves of clusters' tiles. Narrow tiles wait for L2.
double estimate_tile(const GemmPlan& plan, const GemmProblem& p) {
  const auto bytes = static_cast<double>(qtype_bytes(p.type));
  const TileGrid grid = gemm_tile_grid(plan, p.m, p.n);
  // Of four CTAs, not as many clusters fit as there are multiprocessors for.
  const int64_t clusters = plan.square ? 31 : kMultiprocessors / 2;
  const int64_t rounds = ceil_div(grid.tiles() - grid.flats, clusters),
                all = ceil_div(grid.tiles(), clusters);
  // A round of flat tiles alone: with tokens for one warpgroup products take half the time, L2 as long.
  const double waves =
      static_cast<double>(rounds) + static_cast<double>(all - rounds) * (p.m % 256 <= 64 ? 0.8 : 1);
  const double rate = (bytes == 1 ? 11.0e6 : 6.0e6) * (plan.tile_n >= 224                  ? 1
                                                       : plan.tile_n == 192 || plan.square ? 0.97
                                                                                           : 0.85);
  const double tile = 2.0 * static_cast<double>(int64_t{plan.tile_n} * plan.tile_m * p.k) / rate + 0.5;
  const double memory = static_cast<double>(p.n * p.k) * bytes / 3.0e6;
  return std::max(memory, waves * tile) + 3;
}

// After measurements on an H100: memory, products, what starts cost.
double estimate_stream(const GemmPlan& plan, const GemmProblem& p) {
  const auto bytes = static_cast<double>(qtype_bytes(p.type));
  const int64_t area = int64_t{plan.tile_n} * plan.tile_m;
  const double rate =
      (bytes == 1 ? 8.6e6 : 5.0e6) * (area < 16384 ? 0.7 : 1) *
      (plan.stages < 3                                           ? 0.55
       : area >= 16384 && (plan.stages < 4 || plan.tile_n == 64) ? 0.8
                                                                 : 1);  // FLOP a us, of a multiprocessor
  const auto ctas =
      static_cast<double>(ceil_div(p.n, plan.tile_n) * ceil_div(p.m, plan.tile_m) * plan.split_k);
  const double waves = ctas / kMultiprocessors;
  // Two CTAs on a multiprocessor even waves out; alone, a deep ring hides memory better.
  const bool alone = gemm_shared_bytes(plan) > kSharedPerMultiprocessor / 2 - kReserved;
  const double rounds = alone ? std::ceil(waves) : std::max(1.0, waves);
  const double flop = 2.0 * static_cast<double>(area * p.k) / plan.split_k;
  const double busy = std::min(1.0, waves);
  const double crowded = waves <= 1 ? 1.0 : plan.split_k > 1 ? 1.5 : alone ? 1.07 : 1.0;
  const double shallow = waves <= 1 && !alone ? 0.95 : 1.0;
  const double memory = static_cast<double>(p.n * p.k) * bytes / 3.0e6 / (0.7 + 0.3 * busy) / shallow;
  const double starts = 2.5 * (alone ? rounds : 1) + (plan.split_k > 1 ? 0.4 + 0.3 * plan.split_k : 0);
  return std::max(memory, rounds * flop / rate) * crowded + starts;
}

void add_plans(const GemmProblem& p, int32_t tile_n, int32_t tile_m, std::vector<GemmPlan>& plans) {
  GemmPlan plan{tile_n, tile_m, 0, 1, p.promote && p.type == QType::kFp8};
  if (!tile_exists(plan)) return;
  const int64_t tiles = ceil_div(p.n, tile_n) * ceil_div(p.m, tile_m);
  const bool splits = !p.batch_invariant || p.type == QType::kInt8;  // integers add in any order
  for (int32_t split = 1; split <= (splits ? 8 : 1); split *= 2) {
    if (split > 1 && tiles * split > 4 * kMultiprocessors) break;
    plan.split_k = split;
    const int64_t blocks = ceil_div(gemm_blocks(plan, p), split);
    for (const int64_t resident : {2, 1, 3}) {
      const int64_t room = std::min(kSharedPerBlock, kSharedPerMultiprocessor / resident - kReserved) - 1024;
      const int64_t fitting =
          std::min<int64_t>({room / stage_bytes(plan), kMaxStages, std::max<int64_t>(blocks, 2)});
      plan.stages = static_cast<int32_t>(fitting);
      if (fitting < 2 || gemm_shared_bytes(plan) > room + 1024) continue;
      if (std::find(plans.begin(), plans.end(), plan) == plans.end()) plans.push_back(plan);
    }
  }
}

void add_tile(const GemmProblem& p, int32_t tile_n, bool square, std::vector<GemmPlan>& plans) {
  GemmPlan plan{tile_n, 128, 0, 1, p.promote && p.type == QType::kFp8, GemmKernel::kTile, square};
  if (!tile_exists(plan)) return;
  plan.stages = tile_stages(plan);
  plans.push_back(plan);
}

}  // namespace

int64_t gemm_bucket(int64_t m) {
  int64_t bucket = 8;
  while (bucket < m) bucket *= 2;
  return bucket;
}

std::vector<int64_t> gemm_buckets(int64_t max_m) {
  std::vector<int64_t> buckets;
  for (int64_t b = 8; b <= gemm_bucket(max_m); b *= 2) buckets.push_back(b);
  return buckets;
}

int32_t gemm_stage_panels(const GemmPlan& plan) {
  return plan.kernel == GemmKernel::kStream && plan.tile_m <= 64 ? 2 : 1;
}

int64_t gemm_blocks(const GemmPlan& plan, const GemmProblem& problem) {
  return ceil_div(problem.k * static_cast<int64_t>(qtype_bytes(problem.type)), 128 * gemm_stage_panels(plan));
}

int64_t gemm_shared_bytes(const GemmPlan& plan) {
  const int64_t ring = plan.stages * stage_bytes(plan);
  if (plan.kernel == GemmKernel::kTile) return ring + 2 * 64 * 128 * 2 + 2 * 8 * plan.stages;
  const int64_t results = int64_t{plan.tile_m} * (plan.tile_n + 4) * 4;
  return 1024 + std::max(ring, results);
}

std::vector<GemmPlan> all_gemm_tiles() {
  std::vector<GemmPlan> plans;
  for (const bool promote : {false, true})
    for (const auto& [tile_n, tile_m] : kTiles) plans.push_back({tile_n, tile_m, 0, 1, promote});
  for (const bool square : {false, true})
    for (const int32_t tile_n : kTileColumns)
      plans.push_back({tile_n, 128, 0, 1, false, GemmKernel::kTile, square});
  return plans;
}

std::vector<GemmPlan> gemm_candidates(const GemmProblem& p) {
  std::vector<GemmPlan> plans;
  const int64_t tokens = std::min<int64_t>(gemm_bucket(p.m), 256);
  for (const auto& [tile_n, tile_m] : kTiles) {
    const bool wide = tile_n == 128 && tile_m >= 128;  // the only ones for many tokens
    const bool fits = tile_m == tokens || (p.m > 64 && tile_m == 128) || (p.m > 128 && tile_m == 256);
    if (p.m > 512 ? wide : fits) add_plans(p, tile_n, tile_m, plans);
  }
  if (p.m > 64) {
    for (const int32_t tile_n : kTileColumns) add_tile(p, tile_n, false, plans);
    add_tile(p, 128, true, plans);
  }
  std::stable_sort(plans.begin(), plans.end(), [&](const GemmPlan& a, const GemmPlan& b) {
    return estimate_gemm(a, p) < estimate_gemm(b, p);
  });
  return plans;
}

GemmPlan plan_gemm(const GemmProblem& problem) {
  return gemm_candidates(problem).front();
}

TileGrid gemm_tile_grid(const GemmPlan& plan, int64_t m, int64_t n) {
  const int64_t rest = m % 256;
  const bool flat = !plan.square && rest > 0 && rest <= 128;
  const int64_t columns = ceil_div(n, plan.tile_n * (plan.square ? 2 : 1));
  return {static_cast<int32_t>(flat ? m / 256 : ceil_div(m, 256)), static_cast<int32_t>(columns),
          static_cast<int32_t>(flat ? ceil_div(columns, 2) : 0)};
}

double estimate_gemm(const GemmPlan& plan, const GemmProblem& problem) {
  return plan.kernel == GemmKernel::kTile ? estimate_tile(plan, problem) : estimate_stream(plan, problem);
}

std::string to_string(const GemmPlan& plan) {
  char text[96];
  std::snprintf(text, sizeof text, "%s %dx%d stages %d split %d%s%s",
                plan.kernel == GemmKernel::kStream ? "stream" : "tile", plan.tile_n, plan.tile_m, plan.stages,
                plan.split_k, plan.promote ? " promote" : "", plan.square ? " square" : "");
  return text;
}

Result<GemmPlan> parse_gemm_plan(const std::string& text) {
  char kernel[8] = {}, tail[16] = {};
  GemmPlan plan;
  const int fields = std::sscanf(text.c_str(), "%7s %dx%d stages %d split %d %15s", kernel, &plan.tile_n,
                                 &plan.tile_m, &plan.stages, &plan.split_k, tail);
  plan.kernel = kernel == std::string("tile") ? GemmKernel::kTile : GemmKernel::kStream;
  plan.promote = tail == std::string("promote");
  plan.square = tail == std::string("square");
  const bool tile = plan.kernel == GemmKernel::kTile;
  const bool split =
      plan.split_k == 1 || (!tile && (plan.split_k == 2 || plan.split_k == 4 || plan.split_k == 8));
  const bool staged = tile ? plan.stages == tile_stages(plan) : plan.stages >= 2 && plan.stages <= kMaxStages;
  if (fields < 5 || to_string(plan) != text || !split || !tile_exists(plan) || !staged ||
      gemm_shared_bytes(plan) > kSharedPerBlock) {
    return invalid_argument("'" + text + "' is no plan of a product's kernel");
  }
  return plan;
}

}  // namespace octet::cuda
