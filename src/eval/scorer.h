// Log-probabilities of given tokens after given texts, many at once: what questions with choices need.
// Beginnings that the texts share are computed once and stay in the cache; steps are as full as the model's
// limits allow.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/block_manager.h"
#include "eval/windows.h"
#include "model/model.h"

namespace octet {

struct ScoreRequest {
  std::vector<int32_t> tokens;  // what the model reads
  struct Target {
    int32_t position;  // index into tokens; its logits are the distribution after tokens[0 .. position]
    int32_t token;     // whose log-probability there is wanted
  };
  std::vector<Target> targets;  // ascending positions; one position may have several
};

class Scorer {
 public:
  explicit Scorer(Model& model);

  // One list of log-probabilities a request, in the order of its targets.
  // Errors: kInvalidArgument where a text is longer than the context or the cache; kInternal where logits are
  // not finite.
  Result<std::vector<std::vector<float>>> score(const std::vector<ScoreRequest>& requests);

  // Tokens that the model has computed and that the cache has spared it, so far.
  int64_t computed() const { return computed_; }
  int64_t spared() const { return spared_; }

 private:
  struct Running {
    const ScoreRequest* request = nullptr;
    std::vector<float>* out = nullptr;
    PageTable table;
    int32_t n_computed = 0;
    bool keep = false;  // publish its pages for others
  };
  Status run(const std::vector<ScoreRequest>& requests, bool keep, std::vector<std::vector<float>>& out);
  bool admit(const ScoreRequest& request, std::vector<float>& out, bool keep);
  int32_t add_to_step(Running& running);  // tokens added
  Status step();

  Model& model_;
  const StepLimits limits_;
  BlockManager pages_;
  std::vector<Running> running_;
  ForwardBatch batch_;
  SamplingBatch sampling_;
  std::vector<std::vector<float>*> row_owner_;  // [rows of the step]
  std::vector<SampledToken> sampled_;           // [max_rows]
  int64_t computed_ = 0, spared_ = 0;
};

}  // namespace octet
