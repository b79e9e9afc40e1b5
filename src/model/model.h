// A loaded model: packed weights, scratch and cache of fixed size, and the forward pass. All memory is taken
// in load().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "formats/checkpoint.h"
#include "model/kv_cache.h"

namespace octet {

struct ModelOptions {
  std::string scheme;  // empty: as the checkpoint says; else quantize while loading (16-bit checkpoints only)
  std::string exclude;                 // regex over module names that stay 16 bit
  std::vector<std::string> overrides;  // "REGEX=SCHEME": modules in another scheme
  bool quantize_head = false;          // lm_head in the scheme too
  std::string kv_dtype = "auto";       // auto, bf16, fp16, int8, fp8
  int32_t max_batch = 64;
  int32_t max_step_tokens = 0;  // 0: what the backend likes, and at least max_batch
  // Of what the backend likes, no more than this (0: all of it): a request that comes waits for the steps
  // under way, and shorter ones let it begin sooner.
  int32_t longest_default_step = 0;
  int32_t max_context = 0;  // 0: the model's own
  int64_t kv_bytes = 0;     // 0: room for max_batch sequences of max_context, as far as free memory goes
  int32_t page_size = 0;    // 0: what the backend likes
};

// Known before anything is loaded, printed before "ready", kept to.
struct MemoryPlan {
  int64_t weights = 0, kv_cache = 0, activations = 0, scratch = 0;
  int32_t kv_pages = 0, page_size = 0;
  int64_t kv_tokens = 0;  // tokens that fit into the cache
  int64_t kv_bytes_per_token = 0;
  int32_t max_context = 0;  // tokens of one sequence
  int64_t total() const { return weights + kv_cache + activations + scratch; }
  std::string to_text() const;
};

class Model {
 public:
  // Errors: everything the plan can know (does not fit: by how much, and which option helps), unsupported
  // schemes.
  static Result<std::unique_ptr<Model>> load(std::shared_ptr<Checkpoint> checkpoint, std::unique_ptr<Ops> ops,
                                             const ModelOptions& options);
  static Result<MemoryPlan> plan(const Checkpoint& checkpoint, const Ops& ops, const ModelOptions& options);
  ~Model();

  // One step: hidden states of all tokens into the cache, logits of batch.logit_rows. The view is valid until
  // the next call: [n_logits, vocab_size] f32.
  View forward(const ForwardBatch& batch);

  Ops& ops();
  const ModelConfig& config() const;
  const MemoryPlan& memory() const;
  const KvCache& cache() const;
  int32_t max_batch() const;
  int32_t max_logits() const;  // rows of logits in a step: at least max_batch
  int32_t max_step_tokens() const;
  int32_t max_context() const;
  std::string scheme_name() const;  // "int8-minmax", or "mixed: ..." where layers differ
  std::string kv_name() const;

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
