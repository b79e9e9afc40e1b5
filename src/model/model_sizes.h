// Every size that follows from a checkpoint, a backend and the options, before anything is loaded.
#pragma once

#include <optional>

#include "model/activations.h"
#include "model/model.h"

namespace octet {

// Rows of logits a step can have even when max_batch is smaller: log-likelihoods of prompts come in slices of
// these.
inline constexpr int32_t kMinLogitRows = 32;

struct ModelSizes {
  std::map<std::string, QuantScheme> schemes;
  KvQuant kv;
  int32_t max_context = 0, page_size = 0;
  AttentionSpec attention;
  ActivationSizes activations;
  OpsLimits limits;
  MemoryPlan plan;
};

Result<ModelSizes> model_sizes(const Checkpoint& checkpoint, const Ops& ops, const ModelOptions& options);

// Bytes for a KV cache beside `fixed` ones where the user gave no size: nearly all that is left of a device's
// own memory, half of a host's, which others need too. None: the free memory is unknown.
std::optional<int64_t> room_for_cache(const BackendInfo& info, int64_t fixed);

// kResourceExhausted where the plan is larger than the memory that is free (0: unknown), naming what would
// help.
Status check_memory(const MemoryPlan& plan, int64_t available);

}  // namespace octet
