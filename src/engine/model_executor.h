// The engine's view of a loaded Model.
#pragma once

#include "backend/ops.h"
#include "engine/executor.h"

namespace octet {

class Model;

class ModelExecutor final : public Executor {
 public:
  explicit ModelExecutor(Model& model) : model_(model) {}
  ExecutorLimits limits() const override;
  void launch(const ForwardBatch& batch, const SamplingBatch& sampling,
              std::span<SampledToken> sampled) override;
  Status wait() override;

 private:
  Model& model_;
  Fence fences_[kMaxFences] = {};           // behind the open steps
  uint32_t n_launched_ = 0, n_waited_ = 0;  // they may wrap: kMaxFences is a power of two
};

}  // namespace octet
