// The engine's view of a loaded Model.
#pragma once

#include "engine/executor.h"

namespace octet {

class Model;

class ModelExecutor final : public Executor {
 public:
  explicit ModelExecutor(Model& model) : model_(model) {}
  ExecutorLimits limits() const override;
  void step(const ForwardBatch& batch, const SamplingBatch& sampling,
            std::span<SampledToken> sampled) override;

 private:
  Model& model_;
};

}  // namespace octet
