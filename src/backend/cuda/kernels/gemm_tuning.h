// Which plan a product gets: found by timing the candidates at start, kept in a file.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels/gemm_plan.h"

namespace octet::cuda {

inline constexpr int kGemmPlansVersion = 5;  // changes with the kernels: plans of other versions are refused

// A linear layer's shape, as the tuner sees it.
struct GemmShape {
  QType type = QType::kFp8;
  int64_t n = 0, k = 0;
  bool f32_out = false;  // the head
  auto operator<=>(const GemmShape&) const = default;
};

struct PlannedGemm {
  GemmPlan plan;
  double us = 0;  // as it was timed, else as it is estimated
};

class GemmPlans {
 public:
  explicit GemmPlans(bool batch_invariant = false, bool promote = false)
      : batch_invariant_(batch_invariant), promote_(promote) {}

  // The tuned plan of the bucket that m falls into, else plan_gemm's.
  PlannedGemm find(QType type, int64_t m, int64_t n, int64_t k) const;
  void set(const GemmShape& shape, int64_t bucket, const GemmPlan& plan, float us);
  bool has(const GemmShape& shape, int64_t bucket) const;

  // Text, a line a product. `device` and the build's own version of the kernels must match, or load refuses.
  // Errors: kNotFound, kInvalidArgument with file and line; plans read before the error are dropped.
  Status load(const std::string& path, const std::string& device);
  // Written beside and renamed: a reader never sees half a file.
  Status save(const std::string& path, const std::string& device) const;
  // "fp8 6144x4096: m<=8 stream 64x8 ... 10.2 us; ..."
  std::string describe(const GemmShape& shape) const;
  // The other's plans, which win over those that are there.
  void merge(const GemmPlans& other);

  // What candidates are asked for.
  GemmProblem problem(QType type, int64_t m, int64_t n, int64_t k) const {
    return {type, m, n, k, batch_invariant_, promote_};
  }

 private:
  std::string mode() const;

  bool batch_invariant_, promote_;
  std::map<std::tuple<QType, int64_t, int64_t, int64_t>, PlannedGemm> plans_;  // type, n, k, bucket
};

// One measurement.
struct GemmTiming {
  GemmShape shape;
  int64_t m = 0;
  GemmPlan plan;
  float us = 0;
};

// How much is timed: of each product the best guesses, each so many times.
struct TuneEffort {
  size_t candidates = 20;
  int repeats = 3;
};

// Times the candidates of every shape at these numbers of tokens (for plans: buckets) that `plans` lacks, on
// memory of its own (freed again),
// weights rotated so that L2 is cold, launches chained as in a step; `all`, where given, gets every
// measurement. A plan must be 2 % faster than the guesses before it. Errors: kResourceExhausted, or what a
// kernel did.
Status tune_gemms(GemmPlans& plans, const std::vector<GemmShape>& shapes, const std::vector<int64_t>& tokens,
                  cudaStream_t stream, const TuneEffort& effort, std::vector<GemmTiming>* all = nullptr);

}  // namespace octet::cuda
