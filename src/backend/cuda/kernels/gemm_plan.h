// How a product is cut up: host structs and integers alone, tested without a GPU.
//
// Two kernels. `stream` (gemm_stream.cuh) is for few tokens: a tile is 64 or 128 rows of the weight by 8 to
// 256 tokens, no product is wasted on rows that are not there, and a weight is read once, at memory speed;
// the CTAs of a cluster may share a tile, each with a range of k. `tile` (gemm_tile.cuh) is for many: 128
// tokens by 128 to 256 rows of the weight, which two CTAs share; widths in between fill whole waves of tiles.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/quant_scheme.h"

namespace octet::cuda {

// Of an H100 (SXM); on other cards the first guess is merely not the best.
inline constexpr int kMultiprocessors = 132;

enum class GemmKernel : uint8_t { kStream, kTile };

struct GemmPlan {
  int32_t tile_n = 0;    // rows of the weight
  int32_t tile_m = 0;    // tokens
  int32_t stages = 0;    // of the ring in shared memory, see gemm_stage_panels
  int32_t split_k = 1;   // stream: CTAs that share a tile, 1 to 8; their sums are added in a fixed order
  bool promote = false;  // stream, fp8: sums go to float registers every 128 of k, see docs/kernels.md
  GemmKernel kernel = GemmKernel::kStream;
  bool square = false;  // tile: clusters of two by two CTAs, which share their tokens too
  bool operator==(const GemmPlan&) const = default;
};

struct GemmProblem {
  QType type = QType::kFp8;  // of both operands
  int64_t m = 0, n = 0, k = 0;
  // A row's bits may depend on that row alone: one order of summation whatever m is. int8 sums are exact
  // anyway.
  bool batch_invariant = false;
  bool promote = false;  // fp8: only plans that do
};

// Tokens are rounded up to these for planning: plans are found once for each.
int64_t gemm_bucket(int64_t m);
// All buckets that steps of up to max_m tokens fall into.
std::vector<int64_t> gemm_buckets(int64_t max_m);

// The plans worth timing, best guess first. Never empty.
std::vector<GemmPlan> gemm_candidates(const GemmProblem& problem);
// The plan where nothing was timed.
GemmPlan plan_gemm(const GemmProblem& problem);

// A plan of every tile that may exist, without stages.
std::vector<GemmPlan> all_gemm_tiles();

// Panels of 128 bytes of k in a stage, and how many stages' worth a product's k is.
int32_t gemm_stage_panels(const GemmPlan& plan);
int64_t gemm_blocks(const GemmPlan& plan, const GemmProblem& problem);

// The tiles of `tile`'s clusters: down, 256 tokens each; across; and flat ones, 128 tokens by two tiles
// across, where the last 256 tokens are no more than that.
struct TileGrid {
  int32_t pairs = 0, columns = 0, flats = 0;
  constexpr int32_t tiles() const { return pairs * columns + flats; }
};
TileGrid gemm_tile_grid(const GemmPlan& plan, int64_t m, int64_t n);

// About how long a product takes, us: made to compare plans by.
double estimate_gemm(const GemmPlan& plan, const GemmProblem& problem);

// Dynamic shared memory of a plan's CTA.
int64_t gemm_shared_bytes(const GemmPlan& plan);

// "stream 64x16 stages 12 split 4", and back. Errors: kInvalidArgument for what no kernel here can do.
std::string to_string(const GemmPlan& plan);
Result<GemmPlan> parse_gemm_plan(const std::string& text);

}  // namespace octet::cuda
