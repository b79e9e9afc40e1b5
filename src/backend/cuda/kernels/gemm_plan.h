// How a product is cut up: host structs and integers alone, tested without a GPU.
//
// Three kernels. `stream` is for few tokens: a tile's rows are 64 or 128 rows of the weight, its columns the
// tokens, so that a weight is read once, at memory speed, whatever the number of tokens; the CTAs of a
// cluster may share a tile, each with a range of k. `tile` is for many tokens: 128 tokens x 128 or 256 rows
// of the weight, persistent, weights shared by two CTAs. `plain` takes any shape, type and alignment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/quant_scheme.h"

namespace octet::cuda {

enum class GemmKernel : uint8_t { kPlain, kStream, kTile };

struct GemmPlan {
  GemmKernel kernel = GemmKernel::kPlain;
  int32_t tile_n = 0;    // rows of the weight
  int32_t tile_m = 0;    // tokens
  int32_t stages = 0;    // of 128 bytes of k each, in shared memory
  int32_t split_k = 1;   // stream: CTAs that share a tile, 1 to 8; their sums are added in a fixed order
  bool promote = false;  // fp8: sums go to float registers every 128 of k, see docs/kernels.md
  bool operator==(const GemmPlan&) const = default;
};

// What is multiplied. `aligned`: rows of both operands begin at multiples of 16 bytes, as TMA needs.
struct GemmProblem {
  QType type = QType::kFp8;  // of both operands
  int64_t m = 0, n = 0, k = 0;
  bool aligned = true;
};

struct GemmPolicy {
  bool batch_invariant = false;  // a row's result depends on that row alone: one order of summation for any m
  bool promote = false;          // fp8, where a plan may choose
  int32_t multiprocessors = 132;
};

// Elements from one row to the next, of packed weights and of activations that the fast kernels can read.
int64_t gemm_stride(QType type, int64_t k);

// Tokens are rounded up to these for planning: plans are found once for each.
int64_t gemm_bucket(int64_t m);
// All buckets that steps of up to max_m tokens fall into.
std::vector<int64_t> gemm_buckets(int64_t max_m);

// The plans worth timing, best guess first. Never empty.
std::vector<GemmPlan> gemm_candidates(const GemmProblem& problem, const GemmPolicy& policy);

// Dynamic shared memory of a plan's CTA.
int64_t gemm_shared_bytes(const GemmPlan& plan, QType type);

// "stream 64x16 stages 12 split 4", and back. Errors: kInvalidArgument for what no kernel here can do.
std::string to_string(const GemmPlan& plan);
Result<GemmPlan> parse_gemm_plan(const std::string& text);

}  // namespace octet::cuda
